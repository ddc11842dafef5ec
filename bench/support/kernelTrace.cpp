// What a GPU does and when it does nothing: a library that CUDA loads into a process (CUDA_INJECTION64_PATH) and that tells, when the process ends, of
// every span of work how long it took, and of kernels by name how often they ran, how long, and what passed before them. A span ends where
// nothing runs for a tenth of a second. Into the file KERNEL_TRACE, or standard error. `bash scripts/gpu-run.sh FILE trace` builds and uses it.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr size_t kBuffer = size_t{8} << 20;
constexpr uint64_t kPause = 100'000'000;  // nanoseconds between spans
constexpr size_t kFew = 300, kNames = 40;  // works of a span that is told in a line; names of one that is not

struct Work {
  uint64_t start, end;
  std::string name;
};
std::mutex mutex;
std::vector<Work> works;

/** As it stands in the source, without arguments and the namespaces that all share. */
std::string name_of(const char* symbol) {
  int status = 0;
  char* plain = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : symbol;
  std::free(plain);
  for (const std::string cut : {"(anonymous namespace)::", "g2rpo::", "void ", "cuda::"})
    for (size_t at; (at = name.find(cut)) != std::string::npos;) name.erase(at, cut.size());
  int depth = 0;
  for (size_t i = 0; i < name.size(); i++) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (name[i] == '(' && depth == 0) name.resize(i);
  }
  return name.substr(0, 100);
}

void CUPTIAPI lend(uint8_t** buffer, size_t* size, size_t* records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBuffer)), *size = kBuffer, *records = 0;
}
void CUPTIAPI take(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t filled) {
  const std::lock_guard lock(mutex);
  for (CUpti_Activity* record = nullptr; cuptiActivityGetNextRecord(buffer, filled, &record) == CUPTI_SUCCESS;) {
    const auto add = [&](const auto* work, std::string name) { works.push_back({work->start, work->end, std::move(name)}); };
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) add(reinterpret_cast<const CUpti_ActivityMemcpy6*>(record), "a copy");
    else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) add(reinterpret_cast<const CUpti_ActivityMemset4*>(record), "clearing");
    else if (const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record); record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL)
      add(kernel, name_of(kernel->name));
  }
  std::free(buffer);
}

void tell_span(FILE* to, const Work* begin, const Work* end) {
  struct Sum {
    size_t times = 0;
    uint64_t busy = 0, before = 0;
  };
  std::map<std::string, Sum> by_name;
  uint64_t busy = 0, idle = 0, last = begin->start;
  for (const Work* w = begin; w < end; w++) {
    auto& sum = by_name[w->name];
    sum.times++, sum.busy += w->end - w->start, busy += w->end - w->start;
    if (w->start > last) sum.before += w->start - last, idle += w->start - last;
    last = std::max(last, w->end);
  }
  const auto ms = [](uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; };
  std::fprintf(to, "%zu works in %.2f ms, of which nothing ran for %.2f\n", static_cast<size_t>(end - begin), ms(last - begin->start), ms(idle));
  if (end - begin < static_cast<ptrdiff_t>(kFew)) return;
  std::vector<std::pair<std::string, Sum>> sorted(by_name.begin(), by_name.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.busy > b.second.busy; });
  for (const auto& [name, sum] : sorted) {
    if (&name > &sorted[std::min(kNames, sorted.size()) - 1].first) break;
    std::fprintf(to, "  %9.3f ms  %6zu times  %8.3f ms before  %s\n", ms(sum.busy), sum.times, ms(sum.before), name.c_str());
  }
}

void tell() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(mutex);
  const char* file = std::getenv("KERNEL_TRACE");
  FILE* to = file ? std::fopen(file, "w") : stderr;
  if (!to) {
    std::perror(file);
    return;
  }
  std::sort(works.begin(), works.end(), [](const Work& a, const Work& b) { return a.start < b.start; });
  for (size_t from = 0, i = 1; i <= works.size(); i++)
    if (i == works.size() || works[i].start > works[i - 1].end + kPause) tell_span(to, &works[from], works.data() + i), from = i;
  if (file) std::fclose(to);
}

}  // namespace

extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(lend, take);
  for (const auto kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET}) cuptiActivityEnable(kind);
  std::atexit(tell);
  return 1;
}
