#include <ctime>

#include "../core/registry.h"
#include "binding.h"

namespace g2rpo::binding {

namespace {

/** kernels(): what this addon holds, but for what C++ alone calls and has no signature; lib/kernels compares the signatures with its declarations */
Napi::Value kernels(const Napi::CallbackInfo& info) {
  auto list = Napi::Array::New(info.Env());
  uint32_t i = 0;
  each_kernel([&](const KernelEntry* e) {
    if (!*e->signature) return;
    auto o = Napi::Object::New(info.Env());
    o["name"] = e->name;
    o["signature"] = e->signature;
    o["backend"] = name_of(e->backend);
    o["isa"] = name_of(e->isa);
    o["variant"] = name_of(e->variant);
    list[i++] = o;
  });
  return list;
}

double seconds_of(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double thread_seconds() { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }
double wall_seconds() { return seconds_of(CLOCK_MONOTONIC); }

/** profile(on): starts or stops timing kernels that the model runs, from zero */
Napi::Value set_profile(const Napi::CallbackInfo& info) {
  // in its turn: kernels are timed one by one, which those that are being recorded must not be
  device_of(info.Env()).enqueue([on = info[0].ToBoolean().Value()](Stream&) { profile(on); });
  return info.Env().Undefined();
}

/** kernelTimes(): what has been timed since, one entry per kernel that ran */
Napi::Value kernel_times(const Napi::CallbackInfo& info) {
  auto list = Napi::Array::New(info.Env());
  uint32_t i = 0;
  each_kernel([&](const KernelEntry* e) {
    const KernelTime t = time_of(e);
    if (t.launches == 0) return;
    auto o = Napi::Object::New(info.Env());
    o["name"] = e->name;
    o["variant"] = name_of(e->variant);
    o["launches"] = static_cast<double>(t.launches);
    o["milliseconds"] = static_cast<double>(t.nanoseconds) / 1e6;
    list[i++] = o;
  });
  return list;
}

struct Launch {
  const KernelEntry* entry = nullptr;
  std::vector<KernelArgs::Slot> slots;
  std::vector<BufferRef> reads, writes;
  std::vector<std::shared_ptr<std::vector<RawView>>> lists;  // what slots of lists point to
  size_t array_bytes = 0;                                     // of memory that is JavaScript's
  /** of its tensors */
  size_t bytes() const {
    size_t sum = array_bytes;
    for (const auto* buffers : {&reads, &writes})
      for (const auto& b : *buffers) sum += b->bytes;
    return sum;
  }
};

/** That of an argument of a kernel, which works on the device. */
BufferRef argument_of(const Napi::Value& value) {
  BufferRef buffer = buffer_of(value);
  if (buffer->on_host()) throw Error("INVALID_ARGUMENT", "a kernel works on tensors of its device; got one that is kept in the host's memory");
  return buffer;
}

/** Elements of a list's tensors; they are flat, so their memory says how many. */
void add_list(Launch& job, KernelArgs::Slot& slot, const Napi::Array& tensors, bool written) {
  auto views = std::make_shared<std::vector<RawView>>();
  for (uint32_t i = 0; i < tensors.Length(); i++) {
    BufferRef buffer = argument_of(tensors.Get(i));
    views->push_back({buffer->data, buffer->bytes / size_of(buffer->dtype)});
    (written ? job.writes : job.reads).push_back(std::move(buffer));
  }
  slot.data = views->data();
  slot.size = views->size();
  job.lists.push_back(std::move(views));
}

/** The dimensions of argument i; those that it does not have are −1. */
void add_dims(KernelArgs::Slot& slot, const std::string& name, const double* dims, uint32_t i, size_t bytes, size_t element) {
  size_t size = 1;
  for (int d = 0; d < kMaxRank; d++) {
    const double n = dims[i * kMaxRank + d];
    if (!(n >= -1 && n <= 9e15)) throw Error("SHAPE_MISMATCH", name + ": a dimension is out of range");
    slot.dim[d] = n < 0 ? 0 : static_cast<size_t>(n);
    if (n >= 0) size *= slot.dim[d];
  }
  slot.size = size;
  if (size * element != bytes)
    throw Error("SHAPE_MISMATCH", name + ": argument " + std::to_string(i) + " has " + std::to_string(bytes) +
                                      " bytes, its dimensions want " + std::to_string(size * element));
}

/**
 * launch(name, variant, arguments, dims, written): arguments are tensors, lists of them, numbers or null in the order of the signature;
 * dims holds kMaxRank dimensions for each; written[i] is 1 for updated tensors and outputs. A typed array is taken where it is, for
 * what runs before JavaScript goes on.
 */
Launch launch_of(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const std::string variant = info[1].As<Napi::String>();
  const DType dtype = variant == "f64" ? DType::f64 : variant == "bf16" ? DType::bf16 : DType::f32;
  const auto arguments = info[2].As<Napi::Array>();
  const auto dims = info[3].As<Napi::Float64Array>();
  const auto written = info[4].As<Napi::Uint8Array>();
  const auto& accelerator = device_of(info.Env()).accelerator();
  const Backend backend = accelerator ? accelerator->backend() : Backend::cpu;
  Launch job;
  job.entry = find_kernel(name.c_str(), backend, dtype);
  if (!job.entry) throw_no_kernel(name.c_str(), backend, dtype);
  const uint32_t count = arguments.Length();
  if (dims.ElementLength() != size_t{count} * kMaxRank || written.ElementLength() != count)
    throw Error("INVALID_ARGUMENT", "launch: dims and written must match the arguments");
  for (uint32_t i = 0; i < count; i++) {
    const Napi::Value v = arguments[i];
    KernelArgs::Slot slot{};
    if (v.IsNumber()) {
      slot.scalar = v.As<Napi::Number>().DoubleValue();
    } else if (v.IsArray()) {
      add_list(job, slot, v.As<Napi::Array>(), written[i]);
    } else if (v.IsTypedArray()) {
      const auto array = v.As<Napi::TypedArray>();
      add_dims(slot, name, dims.Data(), i, array.ByteLength(), array.ElementSize());
      slot.data = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
      job.array_bytes += array.ByteLength();
    } else if (!v.IsNull()) {
      BufferRef buffer = argument_of(v);
      add_dims(slot, name, dims.Data(), i, buffer->bytes, size_of(buffer->dtype));
      slot.data = buffer->data;
      (written[i] ? job.writes : job.reads).push_back(std::move(buffer));
    }
    job.slots.push_back(slot);
  }
  return job;
}

/** How one of its tensors failed before, or null. */
std::shared_ptr<const Failure> earlier_failure(const Launch& job) {
  for (const auto* list : {&job.reads, &job.writes})
    for (const auto& b : *list)
      if (b->failure) return b->failure;
  return nullptr;
}

Napi::Value launch(const Napi::CallbackInfo& info) {
  Launch job = launch_of(info);
  if (job.array_bytes > 0) throw Error("INVALID_ARGUMENT", "launch: tensors were wanted; got a typed array");
  const size_t bytes = job.bytes();
  enqueue_sized(info.Env(), bytes, [job = std::move(job)](Stream& stream) {
    std::shared_ptr<const Failure> failure = earlier_failure(job);
    if (!failure) failure = guarded(stream, [&] { job.entry->launch(stream, KernelArgs(job.slots.data())); });
    for (const auto& b : job.writes) {
      b->writes++;
      if (failure) b->failure = failure;
    }
  });
  return info.Env().Undefined();
}

/** runHere(… as launch, typed arrays for tensors): whether it has run */
Napi::Value run_here(const Napi::CallbackInfo& info) {
  const Launch job = launch_of(info);
  std::shared_ptr<const Failure> failure;
  const auto run = [&](Stream& stream) { failure = guarded(stream, [&] { job.entry->launch(stream, KernelArgs(job.slots.data())); }); };
  const bool ran = job.bytes() <= kShortJob && device_of(info.Env()).run_here(run);
  if (failure) throw Error(failure->code, failure->message);
  return Napi::Boolean::New(info.Env(), ran);
}

/**
 * time(… as launch, count): Promise<number>, CPU seconds of a run on the stream's thread, on an accelerator seconds; the mean of `count` behind
 * one that is not timed, in which the system clears what is written
 */
Napi::Value time(const Napi::CallbackInfo& info) {
  const int64_t count = info[5].As<Napi::Number>().Int64Value();
  if (count < 1) throw Error("INVALID_ARGUMENT", "time: count must be at least 1; got " + std::to_string(count));
  auto seconds = std::make_shared<double>(0);
  return promise_on_stream(
      info.Env(),
      [job = std::make_shared<Launch>(launch_of(info)), count, seconds](Stream& stream) {
        if (auto failure = earlier_failure(*job)) return failure;
        const auto run = [&] { job->entry->launch(stream, KernelArgs(job->slots.data())); };
        run();
        finish(stream);
        const auto now = [&] { return stream.accelerator ? wall_seconds() : thread_seconds(); };
        const double begin = now();
        for (int64_t i = 0; i < count; i++) run();
        finish(stream);
        *seconds = (now() - begin) / static_cast<double>(count);
        return std::shared_ptr<const Failure>();
      },
      [seconds](napi_env env) -> napi_value { return Napi::Number::New(env, *seconds); });
}

}  // namespace

void register_launch(Napi::Env env, Napi::Object exports) {
  exports["kernels"] = Napi::Function::New<guarded_call<kernels>>(env);
  exports["profile"] = Napi::Function::New<guarded_call<set_profile>>(env);
  exports["kernelTimes"] = Napi::Function::New<guarded_call<kernel_times>>(env);
  exports["launch"] = Napi::Function::New<guarded_call<launch>>(env);
  exports["runHere"] = Napi::Function::New<guarded_call<run_here>>(env);
  exports["time"] = Napi::Function::New<guarded_call<time>>(env);
}

}  // namespace g2rpo::binding
