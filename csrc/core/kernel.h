// The contract of a kernel: an op is a struct of views and scalars with a name and a signature; `KERNEL(backend, Op)`
// in ops/<op>/<backend>.cpp is its arithmetic and registers itself. Called from TypeScript by name through KernelArgs, and
// from the model by type through `run`.
#pragma once
#include "stream.h"
#include "tensor.h"

namespace g2rpo {

enum class Backend : uint8_t { cpu, cuda, neuron };
/** The last two compute the same bits: products of bf16 pairs by the processor's instruction, or by what avx512 has. */
enum class Isa : uint8_t { generic, avx2, avx512, avx512bf16_emulated, avx512bf16 };

/** Arguments in the order of the signature: inputs, updated tensors, scalars, outputs. */
class KernelArgs {
 public:
  struct Slot {
    void* data;  // of a list: its RawViews, `size` of them
    size_t size;
    size_t dim[kMaxRank];
    double scalar;
  };
  G2_INLINE KernelArgs(const Slot* slots) : at_(slots) {}

  struct Arg {
    const Slot& slot;
    template <class T> G2_INLINE operator View<T>() const {
      View<T> v(static_cast<T*>(slot.data), slot.size);
      for (int i = 0; i < kMaxRank; i++) v.dim[i] = slot.dim[i];
      return v;
    }
    template <class T> G2_INLINE operator ViewList<T>() const { return {static_cast<const RawView*>(slot.data), slot.size}; }
    G2_INLINE operator double() const { return slot.scalar; }
    G2_INLINE operator int32_t() const { return static_cast<int32_t>(slot.scalar); }
    G2_INLINE operator bool() const { return slot.scalar != 0; }
  };
  G2_INLINE Arg next() { return {*at_++}; }

 private:
  const Slot* at_;
};

/** Which of a signature's alternatives, as in {f32|f64|bf16}, an op type stands for; f32 where there is no choice. Bf16 is f32 with weights of bf16. */
template <class Op> constexpr DType variant_of() {
  if constexpr (requires { typename Op::Weight; })
    if (DTypeOf<typename Op::Weight>::value == DType::bf16) return DType::bf16;
  if constexpr (requires { typename Op::Real; }) return DTypeOf<typename Op::Real>::value;
  else return DType::f32;
}

/** Sized and aligned alike, so that the entries which the linker puts side by side are an array. */
struct alignas(64) KernelEntry {
  const char* name;
  const char* signature;
  Backend backend;
  Isa isa;
  DType variant;
  void (*launch)(Stream&, KernelArgs);        // from TypeScript
  void (*run)(Stream&, const void* op);       // from C++
};

/** The entry of the best instruction set this machine has, or null. */
const KernelEntry* find_kernel(const char* name, Backend backend, DType variant);
/** Best instruction set of this machine, or what `limit_isa` has chosen. */
Isa host_isa();
/** A lower one. Where avx512 runs also avx512bf16, though this machine may gain nothing by it: emulated where the instruction is not there. */
void limit_isa(Isa);
const char* name_of(Isa);
const char* name_of(Backend);
[[noreturn]] void throw_no_kernel(const char* name, Backend backend, DType variant);

/** Wall time of every kernel since the last reset, kept while `profile` is on. */
struct KernelTime {
  uint64_t launches, nanoseconds;
};
void profile(bool on);
bool profiling();
KernelTime time_of(const KernelEntry*);
void run_timed(const KernelEntry*, Stream&, const void* op);

Backend backend_of(const Stream& stream);

/** Runs an op on the stream's backend: now, on the calling thread and the stream's pool, or behind what an accelerator was given before. */
template <class Op> inline void run(Stream& stream, const Op& op) {
  static const KernelEntry* const on_cpu = find_kernel(Op::kName, Backend::cpu, variant_of<Op>());
  const KernelEntry* entry = on_cpu;
  if (stream.queue) {
    static const KernelEntry* const on_device = find_kernel(Op::kName, backend_of(stream), variant_of<Op>());
    entry = on_device;
  }
  if (!entry) throw_no_kernel(Op::kName, backend_of(stream), variant_of<Op>());
  if (profiling()) run_timed(entry, stream, &op);
  else entry->run(stream, &op);
}

}  // namespace g2rpo

#ifndef G2_ISA
#define G2_ISA generic
#endif

// Entries are constant data gathered by the linker: no code of an instruction set runs before it was chosen.
#define G2_CAT2(a, b) a##b
#define G2_CAT(a, b) G2_CAT2(a, b)
#define G2_REGISTER(backend_, isa_, Op, id)                                                                       \
  __attribute__((used, section("g2rpo_kernels"))) constinit static ::g2rpo::KernelEntry G2_CAT(entry_, id) = {               \
      Op::kName, Op::kSignature, ::g2rpo::Backend::backend_, ::g2rpo::Isa::isa_, ::g2rpo::variant_of<Op>(),        \
      [](::g2rpo::Stream& s, ::g2rpo::KernelArgs a) { G2_CAT(kernel_, id)(s, Op::read(a)); },                      \
      [](::g2rpo::Stream& s, const void* op) { G2_CAT(kernel_, id)(s, *static_cast<const Op*>(op)); }};
#define G2_KERNEL(backend_, isa_, Op, id)                                             \
  static void G2_CAT(kernel_, id)(::g2rpo::Stream & stream, const Op& op);             \
  G2_REGISTER(backend_, isa_, Op, id)                                                  \
  static void G2_CAT(kernel_, id)([[maybe_unused]] ::g2rpo::Stream & stream, const Op& op)
/** KERNEL(cpu, Op) { … } — `stream` and `op` are in scope. */
#define KERNEL(backend_, Op) G2_KERNEL(backend_, G2_ISA, Op, __COUNTER__)
/** The same for an op over a real type; `T` is in scope, f32 and f64 are both registered. */
#define KERNEL_REAL(backend_, Op) G2_KERNEL_REAL(backend_, G2_ISA, Op, __COUNTER__)
#define G2_KERNEL_REAL(backend_, isa_, Op, id)                                                      \
  template <class T> static void G2_CAT(kernel_, id)(::g2rpo::Stream & stream, const Op<T>& op);    \
  G2_REGISTER_AS(backend_, isa_, Op<float>, G2_CAT(kernel_, id)<float>, G2_CAT(id, _f32))           \
  G2_REGISTER_AS(backend_, isa_, Op<double>, G2_CAT(kernel_, id)<double>, G2_CAT(id, _f64))         \
  template <class T> static void G2_CAT(kernel_, id)([[maybe_unused]] ::g2rpo::Stream & stream, const Op<T>& op)
/** The same for an op over a real type and one that weights are kept in; `T` and `W` are in scope, and bf16 under f32 is registered too. */
#define KERNEL_WEIGHT(backend_, Op) G2_KERNEL_WEIGHT(backend_, G2_ISA, Op, __COUNTER__)
#define G2_KERNEL_WEIGHT(backend_, isa_, Op, id)                                                                  \
  template <class O, class T = typename O::Real, class W = typename O::Weight>                                     \
  static void G2_CAT(kernel_, id)(::g2rpo::Stream & stream, const O& op);                                          \
  using G2_CAT(Bf16_, id) = Op<float, ::g2rpo::bf16>;                                                              \
  G2_REGISTER_AS(backend_, isa_, Op<float>, G2_CAT(kernel_, id)<Op<float>>, G2_CAT(id, _f32))                      \
  G2_REGISTER_AS(backend_, isa_, Op<double>, G2_CAT(kernel_, id)<Op<double>>, G2_CAT(id, _f64))                    \
  G2_REGISTER_AS(backend_, isa_, G2_CAT(Bf16_, id), G2_CAT(kernel_, id)<G2_CAT(Bf16_, id)>, G2_CAT(id, _bf16))     \
  template <class O, class T, class W>                                                                             \
  static void G2_CAT(kernel_, id)([[maybe_unused]] ::g2rpo::Stream & stream, const O& op)
#define G2_REGISTER_AS(backend_, isa_, Op, fn, id)                                                                \
  __attribute__((used, section("g2rpo_kernels"))) constinit static ::g2rpo::KernelEntry G2_CAT(entry_, id) = {               \
      Op::kName, Op::kSignature, ::g2rpo::Backend::backend_, ::g2rpo::Isa::isa_, ::g2rpo::variant_of<Op>(),        \
      [](::g2rpo::Stream& s, ::g2rpo::KernelArgs a) { fn(s, Op::read(a)); },                                       \
      [](::g2rpo::Stream& s, const void* op) { fn(s, *static_cast<const Op*>(op)); }};
