// g2rpo_cuda [--quick] [name …]: every op that has a kernel for NVIDIA GPUs, or the named ones, beside the CPU's, then timed. Ends with 1 if one
// is off. --quick leaves the times out, for compute-sanitizer and for the emulator; --names only tells what there is.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../../csrc/core/status.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  const bool timed = std::erase(names, "--quick") == 0;
  auto& tests = Registered::all();
  std::sort(tests.begin(), tests.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (names == std::vector<std::string>{"--names"}) {
    for (const auto& test : tests) std::printf("%s\n", test.first.c_str());
    return 0;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 12);  // what was found before a crash is told
  try {
    cudaDeviceProp device;
    cuda::check(cudaGetDeviceProperties(&device, 0), "looking for a device");
    Harness h(timed);
    std::printf("device %s, compute capability %d.%d", device.name, device.major, device.minor);
    if (timed) std::printf("; a copy reads and writes %.2f TB/s", h.copy_rate());
    std::printf("\ncuBLASLt: %s\n", cuda::blas_found().words.c_str());
    size_t ran = 0;
    for (const auto& [name, run] : tests)
      if (names.empty() || std::find(names.begin(), names.end(), name) != names.end()) {
        ran++;
        try {
          run(h);
        } catch (const Error& error) {
          h.expect(false, name + ": " + error.code + " " + error.what());
        }
      }
    h.expect(ran >= std::max<size_t>(1, names.size()), "there is no test of that name");
    std::printf("%d failed\n", h.failures());
    return h.failures() > 0;
  } catch (const Error& error) {
    std::printf("FAIL  %s %s\n", error.code, error.what());
    return 1;
  }
}
