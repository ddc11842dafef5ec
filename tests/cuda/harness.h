// Every op on both backends: the same inputs to the CPU's kernel, which the tests of lib/kernels hold to its f64 reference, and to the
// device's, whose results must agree; and its time beside what the memory of the device can do.
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "../../csrc/backends/cuda/blas.h"
#include "../../csrc/backends/cuda/device.h"
#include "../../csrc/core/thread_pool.h"

namespace g2rpo::test {

enum class Side { host, device };

/** Elements on the host and on the device. */
template <class T> class Array {
 public:
  Array() = default;
  explicit Array(std::vector<T> values) : host_(std::move(values)) {
    cuda::check(cudaMalloc(&device_, host_.empty() ? 1 : host_.size() * sizeof(T)), "allocating");
    upload();
  }
  Array(Array&& other) noexcept : host_(std::move(other.host_)), device_(other.device_) { other.device_ = nullptr; }
  Array& operator=(Array&& other) noexcept {
    std::swap(host_, other.host_), std::swap(device_, other.device_);
    return *this;
  }
  ~Array() { cudaFree(device_); }
  void upload() {
    cuda::check(cudaMemcpy(device_, host_.data(), host_.size() * sizeof(T), cudaMemcpyHostToDevice), "copying");
    cuda::check(cudaDeviceSynchronize(), "copying");  // little may still be on its way when a copy returns, and streams of kernels do not wait for it
  }
  std::vector<T> download() const {
    std::vector<T> values(host_.size());
    cuda::check(cudaMemcpy(values.data(), device_, values.size() * sizeof(T), cudaMemcpyDeviceToHost), "copying");
    return values;
  }
  T* at(Side side) { return side == Side::host ? host_.data() : static_cast<T*>(device_); }
  View<T> view(Side side) { return {at(side), host_.size()}; }
  View<T> view(Side side, size_t rows, size_t columns) { return {at(side), rows, columns}; }
  View<T> view(Side side, size_t rows, size_t heads, size_t width) { return {at(side), rows, heads, width}; }
  const std::vector<T>& host() const { return host_; }

 private:
  std::vector<T> host_;
  void* device_ = nullptr;
};

template <class T> constexpr double kTolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;  // sums of a thousand terms of order one
/** W: of the weights. */
template <class T, class W = T> std::string typed(const char* name) { return std::string(name) + " " + name_of(DTypeOf<W>::value); }

template <class T> T element(double x) {
  if constexpr (std::is_same_v<T, bf16>) return narrow(static_cast<float>(x));
  else return static_cast<T>(x);
}
template <class T> double number(T x) {
  if constexpr (std::is_same_v<T, bf16>) return widen(x);
  else return static_cast<double>(x);
}

template <class T> Array<T> zeros(size_t n) { return Array<T>(std::vector<T>(n)); }

/** Normal numbers, the same ones for a seed; after a million they begin again, since they cost more than what they are for. */
template <class T> Array<T> randoms(size_t n, unsigned seed, double scale = 1, double shift = 0) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<double> normal;
  std::vector<T> values(n);
  constexpr size_t kOwn = size_t{1} << 20;
  for (size_t i = 0; i < n; i++) values[i] = i < kOwn ? element<T>(shift + scale * normal(bits)) : values[i - kOwn];
  return Array<T>(std::move(values));
}

/** What numbers are that a policy of such weights multiplies: f32 ones are rounded to bf16 for a weight of bf16. */
template <class W, class T> Array<T> rounded_for(Array<T> array) {
  if constexpr (sizeof(W) != 2) return array;
  std::vector<T> values = array.host();
  for (auto& x : values) x = widen(narrow(x));
  return Array<T>(std::move(values));
}
/** Normal numbers as a weight. */
template <class W, class T> Array<W> random_weights(size_t n, unsigned seed, double scale = 1) {
  auto array = randoms<T>(n, seed, scale);
  if constexpr (sizeof(W) != 2) return array;
  else {
    std::vector<W> values;
    for (const T x : array.host()) values.push_back(narrow(x));
    return Array<W>(std::move(values));
  }
}

class Harness {
 public:
  explicit Harness(bool timed) : pool_(1), host_{&pool_, nullptr}, device_{&pool_, &queue_}, timed_(timed) {
    if (timed) copy_rate_ = measure_copy();
  }
  Stream& device() { return device_; }
  /** call(what to add to names) with our own products of bf16, then with those of cuBLASLt where it is there. */
  void with_and_without_blas(const std::function<void(const std::string&)>& call) {
    queue_.wants_blas = false;
    call("");
    queue_.wants_blas = true;
    if (cuda::has_blas(device_)) call(", cuBLASLt");
  }
  /** call() if the device has products of warpgroups. */
  void with_warpgroups(const std::function<void()>& call) {
    if (cuda::has_warpgroups(device_)) call();
    else std::printf("ok    no products of warpgroups here\n");
  }
  /** call(what to add to names), with kernels of warpgroups where they are there, and without them. */
  void with_and_without_warpgroups(const std::function<void(const std::string&)>& call) {
    with_warpgroups([&] { call(", warpgroups"); });
    queue_.wants_warpgroups = false;
    call("");
    queue_.wants_warpgroups = true;
  }

  /** Times are wanted too; of f64 kernels they are not. */
  bool timed() const { return timed_; }

  template <class Op> const KernelEntry* entry(Backend backend) const {
    const auto* found = find_kernel(Op::kName, backend, variant_of<Op>());
    if (!found) throw_no_kernel(Op::kName, backend, variant_of<Op>());
    return found;
  }

  /** Runs an op, made from views of a side, on both; then `compare` is to call `close` for every result. */
  template <class Op> void on_both(const std::function<Op(Side)>& make) {
    const Op on_host = make(Side::host), on_device = make(Side::device);
    entry<Op>(Backend::cpu)->run(host_, &on_host);
    expect(!pool_.failed(), std::string(Op::kName) + ": the CPU's kernel failed: " + pool_.take_failure().message);
    entry<Op>(Backend::cuda)->run(device_, &on_device);
    cuda::wait(device_);
    const auto failure = pool_.take_failure();
    expect(!failure.code, std::string(Op::kName) + ": " + failure.message);
  }

  /** Runs an op on the device alone. */
  template <class Op> void on_device(const Op& op) { run_call(starting(op)); }
  /** What starts it there; the op must live as long. */
  template <class Op> std::function<void(Stream&)> starting(const Op& op) const {
    return [kernel = entry<Op>(Backend::cuda), &op](Stream& s) { kernel->run(s, &op); };
  }
  /** The device has left the same bits in both. */
  template <class T> void same(const std::string& name, const Array<T>& a, const Array<T>& b) {
    const auto left = a.download(), right = b.download();
    expect(std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0, name + ": not the same bits");
  }
  /** What the device has left in `narrow` is what it has left in `wide`, rounded. */
  template <class T> void rounds(const std::string& name, const Array<T>& wide, const Array<bf16>& narrow) {
    const auto from = wide.download();
    const auto got = narrow.download();
    size_t wrong = 0;
    for (size_t i = 0; i < from.size(); i++) wrong += g2rpo::narrow(static_cast<float>(from[i])).bits != got[i].bits;
    expect(wrong == 0, name + ": " + std::to_string(wrong) + " of " + std::to_string(from.size()) + " are not rounded to the nearest bf16");
  }

  /** Both fail with the code, and in the same words unless those of the CPU name numbers that the device does not hand over. */
  template <class Op> void both_refuse(const std::string& name, const char* code, const std::function<Op(Side)>& make, bool same_words = true) {
    std::string words[2];
    const Op on_host = make(Side::host), on_device = make(Side::device);
    for (const Backend backend : {Backend::cpu, Backend::cuda}) {
      Stream& stream = backend == Backend::cpu ? host_ : device_;
      entry<Op>(backend)->run(stream, backend == Backend::cpu ? &on_host : &on_device);
      if (backend == Backend::cuda) cuda::wait(device_);
      const auto failure = pool_.take_failure();
      expect(failure.code && std::string(failure.code) == code, name + " on " + name_of(backend) + ": wanted " + code + ", got " + (failure.code ? failure.code : "no failure"));
      words[backend == Backend::cuda] = failure.message;
    }
    expect(!same_words || words[0] == words[1], name + ": the CPU says '" + words[0] + "', the device '" + words[1] + "'");
    std::printf("ok    %s is refused: %s %s\n", name.c_str(), code, words[1].c_str());
  }

  /** |a − b| ≤ tolerance · (1 + |b|), element by element; the worst is printed as a share of that. */
  template <class T> void close(const std::string& name, Array<T>& array, double tolerance) {
    const auto& wanted = array.host();
    const auto got = array.download();
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < wanted.size(); i++) {
      const double a = number(got[i]), b = number(wanted[i]);
      if (a == b || (a != a && b != b)) continue;
      const double off = std::abs(a - b) / (tolerance * (1 + std::abs(b)));
      if (!(off <= worst)) worst = off, at = i;
    }
    expect(worst <= 1, name + ": element " + std::to_string(at) + " is " + std::to_string(got.empty() ? 0 : number(got[at])) + ", the CPU says " +
                           std::to_string(wanted.empty() ? 0 : number(wanted[at])));
    std::printf("ok    %-64s %zu elements, at most %.2g of the tolerance %.0e off\n", name.c_str(), wanted.size(), worst, tolerance);
  }

  /** The very bits of the CPU. */
  template <class T> void same(const std::string& name, Array<T>& array) {
    const auto got = array.download();
    expect(std::memcmp(got.data(), array.host().data(), got.size() * sizeof(T)) == 0, name + ": other bits than the CPU's");
    std::printf("ok    %-64s %zu elements, the CPU's bits\n", name.c_str(), got.size());
  }

  /** The same bits twice: no result depends on the order in which blocks ran. */
  template <class Op, class T> void repeats(const std::string& name, Array<T>& result, const std::function<Op(Side)>& make) {
    repeats<Op, T>(name, std::vector<Array<T>*>{&result}, make);
  }
  template <class Op, class T> void repeats(const std::string& name, const std::vector<Array<T>*>& results, const std::function<Op(Side)>& make) {
    std::vector<std::vector<T>> first(results.size());
    for (int i = 0; i < 3; i++) {
      for (auto* result : results) result->upload();
      const Op op = make(Side::device);
      entry<Op>(Backend::cuda)->run(device_, &op);
      cuda::wait(device_);
      for (size_t r = 0; r < results.size(); r++) {
        const auto found = results[r]->download();
        if (i == 0) first[r] = found;
        expect(std::memcmp(first[r].data(), found.data(), found.size() * sizeof(T)) == 0, name + ": other bits the second time");
      }
    }
    std::printf("ok    %s: the same bits three times\n", name.c_str());
  }

  /** Microseconds of one launch (median of samples), the bytes it must move, the share of a copy's speed, and its operations where they are what counts. */
  template <class Op> void time(const std::string& name, double bytes, const std::function<Op(Side)>& make, double flops = 0) {
    const Op op = make(Side::device);
    const auto* kernel = entry<Op>(Backend::cuda);
    time_call(name, bytes, [&](Stream& stream) { kernel->run(stream, &op); }, flops);
  }

  void time_call(const std::string& name, double bytes, const std::function<void(Stream&)>& call, double flops = 0) {
    cudaEvent_t begin, end;
    cudaEventCreate(&begin), cudaEventCreate(&end);
    const auto measure = [&](int launches) {
      cudaEventRecord(begin, queue_.stream);
      for (int i = 0; i < launches; i++) call(device_);
      cudaEventRecord(end, queue_.stream);
      cuda::wait(device_);
      float ms = 0;
      cudaEventElapsedTime(&ms, begin, end);
      return ms / static_cast<float>(launches);
    };
    measure(1);
    const int launches = measure(2) > 5 ? 1 : 20;  // what takes long need not be repeated to be seen
    std::vector<float> samples;
    for (int sample = 0; sample < 11; sample++) samples.push_back(measure(launches));
    std::sort(samples.begin(), samples.end());
    const double us = 1e3 * static_cast<double>(samples[samples.size() / 2]), rate = bytes / us / 1e6;
    std::printf("time  %-64s %9.2f us  %7.3f TB/s  %3.0f %% of a copy", name.c_str(), us, rate, 100 * rate / copy_rate_);
    if (flops > 0) std::printf("  %7.1f TFLOP/s", flops / us / 1e6);
    std::printf("\n");
    cudaEventDestroy(begin), cudaEventDestroy(end);
  }

  /** An op on the CPU alone. */
  template <class Op> void on_host(const Op& op) { entry<Op>(Backend::cpu)->run(host_, &op); }
  /** Something on the device alone. */
  void run_call(const std::function<void(Stream&)>& call) {
    call(device_);
    cuda::wait(device_);
    const auto failure = pool_.take_failure();
    expect(!failure.code, failure.message);
  }

  double copy_rate() const { return copy_rate_; }
  int failures() const { return failures_; }
  void expect(bool holds, const std::string& otherwise) {
    if (holds) return;
    failures_++;
    std::printf("FAIL  %s\n", otherwise.c_str());
  }

 private:
  /** TB/s read and written by a copy of 2 GiB, the best of ten. */
  double measure_copy() {
    const size_t bytes = size_t{2} << 30;
    void *from, *to;
    cuda::check(cudaMalloc(&from, bytes), "allocating");
    cuda::check(cudaMalloc(&to, bytes), "allocating");
    cudaEvent_t begin, end;
    cudaEventCreate(&begin), cudaEventCreate(&end);
    float best = 1e9f;
    for (int i = 0; i < 10; i++) {
      cudaEventRecord(begin, queue_.stream);
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue_.stream);
      cudaEventRecord(end, queue_.stream);
      cudaEventSynchronize(end);
      float ms;
      cudaEventElapsedTime(&ms, begin, end);
      best = ms < best ? ms : best;
    }
    cudaEventDestroy(begin), cudaEventDestroy(end);
    cudaFree(from), cudaFree(to);
    return 2.0 * static_cast<double>(bytes) / static_cast<double>(best) / 1e9;
  }

  ThreadPool pool_;
  DeviceQueue queue_;
  Stream host_, device_;
  bool timed_;
  double copy_rate_ = 0;
  int failures_ = 0;
};

/** A test of a file of this folder: main.cu runs all that were registered. */
struct Registered {
  using Run = std::function<void(Harness&)>;
  Registered(const char* name, Run run) { all().push_back({name, std::move(run)}); }
  static std::vector<std::pair<std::string, Run>>& all() {
    static std::vector<std::pair<std::string, Run>> tests;
    return tests;
  }
};

}  // namespace g2rpo::test
