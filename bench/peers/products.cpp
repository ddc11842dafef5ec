// Matrix products by the libraries of Debian, on one thread: oneDNN (libdnnl-dev), its weight laid out beforehand, and OpenBLAS
// (libopenblas-dev). Compiled with those that are there by bench/support/kernelPeers.ts. Lines of JSON in and out as torch_kernels.py has them.
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#if __has_include(<oneapi/dnnl/dnnl.hpp>)
#include <oneapi/dnnl/dnnl.hpp>
#define HAS_ONEDNN 1
#endif
#if __has_include(<cblas.h>)
#include <cblas.h>
#define HAS_OPENBLAS 1
#endif

namespace {

using Work = std::function<void()>;
using Ways = std::map<std::string, Work>;

struct Product {
  long m, n, k;
  bool transposed;  // the second matrix is a weight [n, k], and a bias and a residual are added
  bool bf16;
};

std::vector<float> randoms(long count) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> from(-1, 1);
  std::vector<float> x(static_cast<size_t>(count));
  for (auto& v : x) v = from(random);
  return x;
}

/** A value of a line of JSON by its name, as it is written there; empty if there is none. */
std::string value_of(const std::string& line, const std::string& name) {
  const auto at = line.find("\"" + name + "\":");
  if (at == std::string::npos) return "";
  const auto from = at + name.size() + 3;
  if (line[from] == '"') return line.substr(from + 1, line.find('"', from + 1) - from - 1);
  return line.substr(from, line.find_first_of(",}", from) - from);
}

#ifdef HAS_ONEDNN
Work by_onednn(const Product& p) {
  using namespace dnnl;
  using Tag = memory::format_tag;
  using Type = memory::data_type;
  const engine cpu(engine::kind::cpu, 0);
  const auto factor = p.bf16 ? Type::bf16 : Type::f32;
  const memory::desc a({p.m, p.k}, factor, Tag::ab), c({p.m, p.n}, Type::f32, Tag::ab), bias({1, p.n}, Type::f32, Tag::ab);
  const memory::desc as_chosen({p.k, p.n}, factor, Tag::any), as_given({p.k, p.n}, factor, p.transposed ? Tag::ba : Tag::ab);
  primitive_attr how;
  if (p.transposed) {
    post_ops after;
    after.append_binary(algorithm::binary_add, c);
    how.set_post_ops(after);
  }
#if DNNL_VERSION_MAJOR >= 3
  const auto product = p.transposed ? matmul::primitive_desc(cpu, a, as_chosen, bias, c, how) : matmul::primitive_desc(cpu, a, as_chosen, c, how);
#else
  const auto product = matmul::primitive_desc(p.transposed ? matmul::desc(a, as_chosen, bias, c) : matmul::desc(a, as_chosen, c), how, cpu);
#endif
  stream on(cpu);
  const auto filled = [&](const memory::desc& desc, long rows, long columns) {
    auto x = randoms(rows * columns);
    memory from({{rows, columns}, Type::f32, Tag::ab}, cpu, x.data()), to(desc, cpu);
    reorder(from, to).execute(on, from, to);
    on.wait();
    return to;
  };
  memory given = filled(as_given, p.k, p.n), chosen(product.weights_desc(), cpu);
  reorder(given, chosen).execute(on, given, chosen);
  on.wait();
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, filled(a, p.m, p.k)}, {DNNL_ARG_WEIGHTS, chosen}, {DNNL_ARG_DST, filled(c, p.m, p.n)}};
  if (p.transposed) {
    args.insert({DNNL_ARG_BIAS, filled(bias, 1, p.n)});
    args.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, filled(c, p.m, p.n)});
  }
  return [=, primitive = matmul(product)]() mutable {
    primitive.execute(on, args);
    on.wait();
  };
}
#endif

#ifdef HAS_OPENBLAS
/** Without bias and residual: less work than ours. */
Work by_openblas(const Product& p) {
  return [=, a = randoms(p.m * p.k), b = randoms(p.k * p.n), c = randoms(p.m * p.n)]() mutable {
    const auto m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, p.transposed ? CblasTrans : CblasNoTrans, m, n, k, 1, a.data(), k, b.data(), p.transposed ? k : n, 0, c.data(), n);
  };
}
#endif

Ways ways_of(const std::string& line) {
  const auto kernel = value_of(line, "kernel");
  if (kernel != "gemm" && kernel != "linear") return {};
  const auto dim = [&](const char* name) { return std::stol(value_of(line, name)); };
  const Product p{dim("M"), dim("N"), dim("K"), kernel == "linear", value_of(line, "dtype") == "bfloat16"};
  Ways ways;
#ifdef HAS_ONEDNN
  ways["oneDNN " + std::to_string(DNNL_VERSION_MAJOR) + "." + std::to_string(DNNL_VERSION_MINOR) + " packed"] = by_onednn(p);
#endif
#ifdef HAS_OPENBLAS
  if (!p.bf16) ways["OpenBLAS"] = by_openblas(p);
#endif
  return ways;
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

int main() {
  std::cout << "{\"versions\":{}}" << std::endl;
  Ways ways;
  for (std::string line; std::getline(std::cin, line);) {
    if (const auto way = value_of(line, "way"); !way.empty()) {
      const long count = std::stol(value_of(line, "count"));
      const double start = cpu_seconds();
      for (long i = 0; i < count; i++) ways.at(way)();
      std::cout << "{\"seconds\":" << (cpu_seconds() - start) / static_cast<double>(count) << "}" << std::endl;
      continue;
    }
    ways = ways_of(line);
    std::ostringstream names;
    for (const auto& [name, work] : ways) names << (names.tellp() ? "," : "") << '"' << name << '"';
    std::cout << "{\"ways\":[" << names.str() << "]}" << std::endl;
  }
}
