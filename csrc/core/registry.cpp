#include "registry.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "accelerator.h"
#include "status.h"

extern "C" {
extern g2rpo::KernelEntry __start_g2rpo_kernels[] __attribute__((visibility("hidden")));
extern g2rpo::KernelEntry __stop_g2rpo_kernels[] __attribute__((visibility("hidden")));
}

namespace g2rpo {

namespace {

/** By feature bits, never by family or model: libraries that match models fall back to their slowest code on new ones. */
bool has(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (isa == Isa::avx512bf16) return avx512 && __builtin_cpu_supports("avx512bf16");
  if (isa >= Isa::avx512) return avx512;
  if (isa == Isa::avx2) return avx2;
#endif
  return isa == Isa::generic;
}

Isa detect() {
#if defined(__x86_64__)
  // The one question for a maker, since no bit tells how often an instruction is issued: Intel's issue that of pairs at half the rate of a
  // multiply-add (measured), where nothing is gained for what is rounded.
  if (has(Isa::avx512bf16) && !__builtin_cpu_is("intel")) return Isa::avx512bf16;
#endif
  return has(Isa::avx512) ? Isa::avx512 : has(Isa::avx2) ? Isa::avx2 : Isa::generic;
}

Isa& current() {
  static Isa isa = detect();
  return isa;
}

std::atomic<bool> profile_on{false};

/** One slot per entry; kernels of one stream only, so plain numbers would do but for readers on another thread. */
struct Counter {
  std::atomic<uint64_t> launches{0}, nanoseconds{0};
};

/** Entries that lie together, and what was counted of them. */
struct Kernels {
  const KernelEntry *begin, *end;
  std::vector<Counter> counters;
  Kernels(const KernelEntry* begin, const KernelEntry* end) : begin(begin), end(end), counters(static_cast<size_t>(end - begin)) {}
};
/** The addon's, then those of the library; it is loaded before the first kernel runs. */
std::deque<Kernels>& all_kernels() {
  static std::deque<Kernels> all = [] {
    std::deque<Kernels> own;
    own.emplace_back(kernels_begin(), kernels_end());
    return own;
  }();
  return all;
}
Counter& counter_of(const KernelEntry* e) {
  for (auto& k : all_kernels())
    if (e >= k.begin && e < k.end) return k.counters[static_cast<size_t>(e - k.begin)];
  throw Error("INTERNAL", "a kernel that was not registered");
}

}  // namespace

void add_kernels(const KernelEntry* begin, const KernelEntry* end) {
  for (const auto& k : all_kernels())
    if (k.begin == begin) return;
  all_kernels().emplace_back(begin, end);
}

void each_kernel(const std::function<void(const KernelEntry*)>& visit) {
  for (const auto& k : all_kernels())
    for (const KernelEntry* e = k.begin; e != k.end; e++) visit(e);
}

void profile(bool on) {
  for (auto& k : all_kernels())
    for (auto& c : k.counters) c.launches = c.nanoseconds = 0;
  profile_on = on;
}
bool profiling() { return profile_on.load(std::memory_order_relaxed); }

KernelTime time_of(const KernelEntry* e) {
  const auto& c = counter_of(e);
  return {c.launches, c.nanoseconds};
}

void run_timed(const KernelEntry* e, Stream& stream, const void* op) {
  if (stream.accelerator) stream.accelerator->finish(stream);
  const auto begin = std::chrono::steady_clock::now();
  e->run(stream, op);
  if (stream.accelerator) stream.accelerator->finish(stream);
  const auto time = std::chrono::steady_clock::now() - begin;
  auto& c = counter_of(e);
  c.launches++;
  c.nanoseconds += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

Isa host_isa() { return current(); }

void limit_isa(Isa isa) {
  if (isa == Isa::avx512bf16 && !has(isa)) isa = Isa::avx512bf16_emulated;
  if (isa < current() || (has(isa) && current() >= Isa::avx512)) current() = isa;
}

const KernelEntry* kernels_begin() { return __start_g2rpo_kernels; }
const KernelEntry* kernels_end() { return __stop_g2rpo_kernels; }

const KernelEntry* find_kernel(const char* name, Backend backend, DType variant) {
  const KernelEntry* best = nullptr;
  each_kernel([&](const KernelEntry* e) {
    if (e->backend != backend || e->variant != variant || e->isa > host_isa() || std::strcmp(e->name, name) != 0) return;
    if (!best || e->isa > best->isa) best = e;
  });
  return best;
}

Backend backend_of(const Stream& stream) { return stream.accelerator ? stream.accelerator->backend() : Backend::cpu; }

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::avx512bf16: return "avx512bf16";
    case Isa::avx512bf16_emulated: return "avx512bf16_emulated";
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "generic";
  }
}
const char* name_of(Backend b) { return b == Backend::cpu ? "cpu" : b == Backend::cuda ? "cuda" : "neuron"; }

void throw_no_kernel(const char* name, Backend backend, DType variant) {
  throw Error("KERNEL_UNAVAILABLE",
              std::string(name) + ": no kernel for " + name_of(backend) + " in " + name_of(variant));
}

}  // namespace g2rpo
