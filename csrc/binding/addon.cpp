#include <cmath>

#include "../core/arena.h"
#include "binding.h"

namespace g2rpo::binding {

struct Pending::Completion {
  napi_deferred deferred;
  napi_threadsafe_function done;
  Result result;
  Failure failure;
};

namespace {

napi_value error_value(napi_env env, const char* code, const std::string& message) {
  napi_value error = nullptr, code_value = nullptr, text = nullptr;
  napi_create_string_utf8(env, message.c_str(), message.size(), &text);
  napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value);
  napi_create_error(env, code_value, text, &error);
  return error;
}

/** On its way to the JavaScript thread. Whoever drops a job, started or not, drops what it holds with it. */
using CompletionRef = std::shared_ptr<Pending::Completion>;

void hand_over(const CompletionRef& c) {
  auto handed = std::make_unique<CompletionRef>(c);
  if (napi_call_threadsafe_function(c->done, handed.get(), napi_tsfn_nonblocking) == napi_ok) handed.release();
}

/** Raw Node-API with ignored statuses: the environment may be going down, and then every call fails. */
void settle(napi_env env, napi_deferred deferred, Failure failure, const Pending::Result& result) {
  if (!failure.code) {
    try {
      if (napi_value value = result(env)) {
        napi_resolve_deferred(env, deferred, value);
        return;
      }
      failure = {"INTERNAL", "a result could not be handed to JavaScript"};
    } catch (const std::exception& e) {
      failure = {"INTERNAL", e.what()};
    }
  }
  napi_reject_deferred(env, deferred, error_value(env, failure.code, failure.message));
}

/** On the JavaScript thread, called by the thread-safe function. */
void settle_handed(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<CompletionRef> handed(static_cast<CompletionRef*>(data));
  const CompletionRef& c = *handed;
  if (!env) return;
  auto* state = static_cast<Context*>(context);
  if (--state->pending == 0) napi_unref_threadsafe_function(env, state->done);
  settle(env, c->deferred, std::move(c->failure), c->result);
}

void close_context(void* data) {
  auto* state = static_cast<Context*>(data);
  state->device.reset();
  if (state->done) napi_release_threadsafe_function(state->done, napi_tsfn_abort);
  state->done = nullptr;
}

Napi::Value cores(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), available_cores()); }
Napi::Value host_isa_name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), name_of(host_isa())); }

Napi::Value limit(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  for (Isa isa : {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16_emulated, Isa::avx512bf16})
    if (name == name_of(isa)) limit_isa(isa);
  return host_isa_name(info);
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  const int n = info[0].As<Napi::Number>().Int32Value();
  if (n < 1 || n > 1024) throw Error("INVALID_ARGUMENT", "setThreads: threads must be in [1, 1024]; got " + std::to_string(n));
  device_of(info.Env()).set_threads(n);
  return info.Env().Undefined();
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), device_of(info.Env()).threads());
}

/** useDevice(path of a library): what the device is, in words */
Napi::Value use_device(const Napi::CallbackInfo& info) {
  auto& state = context_of(info.Env());
  if (state.device) throw Error("INVALID_ARGUMENT", "useDevice: work has been enqueued on another device");
  state.accelerator = open_accelerator(info[0].As<Napi::String>());
  return Napi::String::New(info.Env(), state.accelerator->description());
}

/** describeDevice(path of a library): { device, products }, in words; nothing is chosen */
Napi::Value describe_device(const Napi::CallbackInfo& info) {
  const Description described = describe_accelerator(info[0].As<Napi::String>());
  auto result = Napi::Object::New(info.Env());
  result["device"] = described.device;
  result["products"] = described.products;
  return result;
}

/** memoryUse(): { bytes, peak, limit }, of the process */
Napi::Value memory_use_of_process(const Napi::CallbackInfo& info) {
  const MemoryUse use = memory_use();
  auto result = Napi::Object::New(info.Env());
  const auto number = [&](size_t n) { return Napi::Number::New(info.Env(), n == SIZE_MAX ? INFINITY : static_cast<double>(n)); };
  result["bytes"] = number(use.bytes);
  result["peak"] = number(use.peak);
  result["limit"] = number(use.limit);
  return result;
}

/** limitMemory(bytes): Infinity for none; the peak begins anew */
Napi::Value set_memory_limit(const Napi::CallbackInfo& info) {
  const double bytes = info[0].As<Napi::Number>().DoubleValue();
  if (!(bytes >= 0)) throw Error("INVALID_ARGUMENT", "limitMemory: bytes must be at least 0; got " + std::to_string(bytes));
  limit_memory(bytes < 9e15 ? static_cast<size_t>(bytes) : SIZE_MAX);
  forget_memory_peak();
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* state = new Context{env};
  env.SetInstanceData<Context>(state);
  napi_value name = nullptr;
  napi_create_string_utf8(env, "g2rpo", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, state, settle_handed, &state->done);
  napi_unref_threadsafe_function(env, state->done);
  napi_add_env_cleanup_hook(env, close_context, state);
  exports["cores"] = Napi::Function::New<guarded_call<cores>>(env);
  exports["hostIsa"] = Napi::Function::New<guarded_call<host_isa_name>>(env);
  exports["limitIsa"] = Napi::Function::New<guarded_call<limit>>(env);
  exports["setThreads"] = Napi::Function::New<guarded_call<set_threads>>(env);
  exports["threads"] = Napi::Function::New<guarded_call<threads>>(env);
  exports["useDevice"] = Napi::Function::New<guarded_call<use_device>>(env);
  exports["describeDevice"] = Napi::Function::New<guarded_call<describe_device>>(env);
  exports["memoryUse"] = Napi::Function::New<guarded_call<memory_use_of_process>>(env);
  exports["limitMemory"] = Napi::Function::New<guarded_call<set_memory_limit>>(env);
  register_tensor(env, exports);
  register_launch(env, exports);
  register_policy(env, exports);
  register_host(env, exports);
  register_host_peaks(env, exports);
  return exports;
}

}  // namespace

/** Comes last: all that JavaScript held of this environment has been freed by then. */
Context::~Context() { return_free_memory(); }

Context& context_of(Napi::Env env) { return *env.GetInstanceData<Context>(); }

Device& device_of(Napi::Env env) {
  auto& state = context_of(env);
  if (!state.device) state.device = std::make_unique<Device>(available_cores(), state.accelerator);
  return *state.device;
}

void throw_js(Napi::Env env, const char* code, const std::string& message) {
  throw Napi::Error(env, error_value(env, code, message));
}

Pending::Pending(Napi::Env env, Napi::Promise& promise) {
  auto& state = context_of(env);
  completion_ = std::make_shared<Completion>(Completion{nullptr, state.done, nullptr, {}});
  napi_value made = nullptr;
  napi_create_promise(env, &completion_->deferred, &made);
  promise = Napi::Promise(env, made);
  if (state.pending++ == 0) napi_ref_threadsafe_function(env, state.done);
}

void Pending::resolve(Result result) const {
  completion_->result = std::move(result);
  hand_over(completion_);
}

void Pending::reject(const Failure& failure) const {
  completion_->failure = failure;
  hand_over(completion_);
}

Napi::Promise promise_on_stream(Napi::Env env, std::function<std::shared_ptr<const Failure>(Stream&)> work, Pending::Result result, size_t bytes) {
  const auto run = [](Stream& stream, auto& work) {
    std::shared_ptr<const Failure> read_failure;
    auto failure = guarded(stream, [&] { read_failure = work(stream); });
    work = nullptr;
    return failure ? failure : read_failure;
  };
  Device& device = device_of(env);
  std::shared_ptr<const Failure> failed;
  if (bytes <= kShortJob && device.run_here([&](Stream& stream) { failed = run(stream, work); })) {
    napi_deferred deferred = nullptr;
    napi_value made = nullptr;
    napi_create_promise(env, &deferred, &made);
    settle(env, deferred, failed ? *failed : Failure{}, result);
    return Napi::Promise(env, made);
  }
  Napi::Promise promise;
  device.enqueue([run, pending = Pending(env, promise), work = std::move(work), result = std::move(result)](Stream& stream) mutable {
    const auto failure = run(stream, work);
    if (failure) pending.reject(*failure);
    else pending.resolve(std::move(result));
  });
  return promise;
}

}  // namespace g2rpo::binding

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) { return g2rpo::binding::init(env, exports); }
NODE_API_MODULE(g2rpo, InitModule)
