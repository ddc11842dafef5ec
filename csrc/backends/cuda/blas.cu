#include "blas.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>

#include "../../core/status.h"
#include "cublaslt.h"
#include "vectors.h"

namespace g2rpo::cuda {

namespace {

struct Loaded {
  lt::Library library{};
  BlasFound found{false, ""};

  Loaded() {
    const char* asked = std::getenv("G2RPO_CUBLASLT");
    if (asked && std::string(asked) == "off") {
      found.words = "left out by G2RPO_CUBLASLT";
      return;
    }
    if (asked && *asked) {
      try_file(asked);
      found.named = true;
      return;
    }
    std::string why;  // a file that is there cannot be used
    for (const char* folder : {"", "/usr/local/cuda/lib64/"})
      for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
        if (try_file(std::string(folder) + name)) return;
        if (why.empty() && found.words.find("No such file") == std::string::npos) why = found.words;
      }
    found.words = why.empty() ? "libcublasLt.so.13 and .so.12 are not among the libraries of this machine" : why;
  }

  bool try_file(const std::string& file) {
    void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its code may be in use until the process ends
    if (!handle) {
      found.words = dlerror();
      return false;
    }
    bool whole = true;
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      whole &= function != nullptr;
    };
    take(library.version, "cublasLtGetVersion"), take(library.words, "cublasLtGetStatusString");
    take(library.create, "cublasLtCreate"), take(library.destroy, "cublasLtDestroy");
    take(library.create_operation, "cublasLtMatmulDescCreate"), take(library.destroy_operation, "cublasLtMatmulDescDestroy");
    take(library.set_operation, "cublasLtMatmulDescSetAttribute");
    take(library.create_layout, "cublasLtMatrixLayoutCreate"), take(library.destroy_layout, "cublasLtMatrixLayoutDestroy");
    take(library.create_preference, "cublasLtMatmulPreferenceCreate"), take(library.destroy_preference, "cublasLtMatmulPreferenceDestroy");
    take(library.set_preference, "cublasLtMatmulPreferenceSetAttribute");
    take(library.choose, "cublasLtMatmulAlgoGetHeuristic"), take(library.multiply, "cublasLtMatmul");
    const size_t version = whole ? library.version() : 0;
    if (version < 120000) {
      found.words = file + ": not cuBLASLt 12 or later";
      return false;
    }
    lt::Handle trial = nullptr;  // a library may be newer than the driver
    if (const lt::Status status = library.create(&trial); status != 0) {
      found.words = file + ": does not begin: " + library.words(status);
      return false;
    }
    library.destroy(trial);
    Dl_info at{};
    dladdr(reinterpret_cast<void*>(library.multiply), &at);
    found = {true, std::string(at.dli_fname ? at.dli_fname : file) + ", version " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
                       std::to_string(version % 100)};
    return true;
  }
};

const Loaded& loaded() {
  static const Loaded once;
  return once;
}

void check_blas(lt::Status status, const char* doing) {
  if (status == 0) return;
  check(cudaGetLastError(), doing);  // of a device that is lost the library says only that it failed
  throw Error("DEVICE_FAILED", std::string("cuda: cuBLASLt: ") + doing + ": " + loaded().library.words(status));
}

/** Something of the library's that is made and given back. */
class Owned {
 public:
  template <class Create, class... A> Owned(lt::Status (*destroy)(void*), const char* making, Create create, A... args) : destroy_(destroy) {
    check_blas(create(&made_, args...), making);
  }
  ~Owned() { destroy_(made_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  operator void*() const { return made_; }

 private:
  lt::Status (*destroy_)(void*);
  void* made_ = nullptr;
};

/** A matrix of our rows is one of the library's columns, so that C = A·B is asked for as Cᵀ = Bᵀ·Aᵀ. */
struct Plan {
  Owned operation, b, a, c;
  lt::Algorithm algorithm{};
  bool there = false;  // an algorithm

  Plan(const lt::Library& l, void* handle, char* memory, size_t workspace, const BlasProduct& p)
      : operation(l.destroy_operation, "describing a product", l.create_operation, lt::kComputeF32, lt::kF32),
        b(l.destroy_layout, "describing B", l.create_layout, type(p), p.b_along ? p.k : p.n, p.b_along ? p.n : p.k, static_cast<int64_t>(p.b_along ? p.k : p.n)),
        a(l.destroy_layout, "describing A", l.create_layout, type(p), p.a_along ? p.k : p.m, p.a_along ? p.m : p.k, static_cast<int64_t>(p.a_along ? p.k : p.m)),
        c(l.destroy_layout, "describing C", l.create_layout, p.c_type == DType::bf16 ? lt::kBf16 : lt::kF32, p.n, p.m, static_cast<int64_t>(p.n)) {
    const int32_t transposed = lt::kTransposed;
    if (p.b_along) check_blas(l.set_operation(operation, lt::transposed_a, &transposed, sizeof transposed), "transposing B");
    if (!p.a_along) check_blas(l.set_operation(operation, lt::transposed_b, &transposed, sizeof transposed), "transposing A");
    if (p.bias) {
      check_blas(l.set_operation(operation, lt::epilogue, &lt::kAddBias, sizeof lt::kAddBias), "adding a bias");
      add_bias(l, reinterpret_cast<const float*>(memory + 16));  // no better aligned than any that is to come
    }
    const Owned preference(l.destroy_preference, "asking for an algorithm", l.create_preference);
    const auto prefer = [&]<class T>(int attribute, T value) { check_blas(l.set_preference(preference, attribute, &value, sizeof value), "asking for an algorithm"); };
    prefer(lt::workspace_bytes, static_cast<uint64_t>(workspace));
    prefer(lt::reduction_schemes, lt::kReduceApart);
    for (const int attribute : {lt::alignment_a, lt::alignment_b, lt::alignment_c, lt::alignment_d}) prefer(attribute, uint32_t{16});
    lt::Heuristic best{};
    int found = 0;
    const lt::Status status = l.choose(handle, operation, b, a, c, c, preference, 1, &best, &found);
    if (status != lt::kNotSupported) check_blas(status, "choosing an algorithm");
    there = status == 0 && found > 0 && best.status == 0;
    algorithm = best.algorithm;
  }
  void add_bias(const lt::Library& l, const float* bias) const { check_blas(l.set_operation(operation, lt::bias_pointer, &bias, sizeof bias), "adding a bias"); }
  static int type(const BlasProduct& p) { return p.type == DType::bf16 ? lt::kBf16 : lt::kF32; }
};

}  // namespace

/** The library's handle, its memory, and what it has chosen so far, of one stream. */
class Blas {
 public:
  Blas() : handle_(loaded().library.destroy, "beginning", loaded().library.create) { check(cudaMalloc(&memory_, kMemory), "allocating"); }
  ~Blas() { cudaFree(memory_); }
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  const Plan& plan_of(const BlasProduct& p) {
    const Shape shape{p.m, p.n, p.k, static_cast<size_t>(p.type), static_cast<size_t>(p.c_type), size_t{p.a_along} * 4 + size_t{p.b_along} * 2 + (p.bias != nullptr)};
    return plans_.try_emplace(shape, loaded().library, handle_, static_cast<char*>(memory_), kMemory, p).first->second;
  }
  void multiply(cudaStream_t stream, const BlasProduct& p) {
    const auto& l = loaded().library;
    const Plan& plan = plan_of(p);
    if (p.bias) plan.add_bias(l, p.bias);
    const float alpha = 1, beta = p.added ? 1 : 0;
    check_blas(l.multiply(handle_, plan.operation, &alpha, p.b, plan.b, p.a, plan.a, &beta, p.added ? p.added : p.c, plan.c, p.c, plan.c, &plan.algorithm, memory_, kMemory, stream), "multiplying");
  }

 private:
  static constexpr size_t kMemory = size_t{32} << 20;  // what NVIDIA advises for compute capability 9.0
  Owned handle_;
  void* memory_ = nullptr;
  using Shape = std::array<size_t, 6>;
  std::map<Shape, Plan> plans_;
};

bool BlasProduct::whole() const {
  const size_t piece = 16 / size_of(type);
  return (a_along ? k : m) % piece == 0 && (b_along ? k : n) % piece == 0 && n % (16 / size_of(c_type)) == 0 &&
         aligned(static_cast<const char*>(a), static_cast<const char*>(b), static_cast<const char*>(c), bias, added);
}

const BlasFound& blas_found() { return loaded().found; }
bool has_blas(const Stream& stream) { return stream.queue->wants_blas && loaded().found.loaded; }

namespace {
Blas& blas_of(Stream& stream) {
  auto& blas = stream.queue->blas;
  if (!blas) blas = std::make_shared<Blas>();
  return *blas;
}
}  // namespace

bool goes_to_blas(Stream& stream, const BlasProduct& p) { return has_blas(stream) && blas_of(stream).plan_of(p).there; }
void multiply_by_blas(Stream& stream, const BlasProduct& p) { blas_of(stream).multiply(stream.queue->stream, p); }

}  // namespace g2rpo::cuda
