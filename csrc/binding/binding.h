// What the binding's files share. Only files of this folder know N-API.
#pragma once
#define NAPI_VERSION 8
// a worker that is ended while it is in here takes no exception any more: it must not end the process instead
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "../core/device.h"

namespace g2rpo::binding {

/** State of one JavaScript environment (the main thread or a worker). */
struct Context {
  explicit Context(Napi::Env env) : env(env) {}
  Napi::Env env;
  std::unique_ptr<Device> device;
  std::shared_ptr<Accelerator> accelerator;  // null: the CPU
  napi_threadsafe_function done = nullptr;
  int pending = 0;  // promises under way; the event loop is kept alive while there are any
  ~Context();
};
Context& context_of(Napi::Env env);
/** The device of this environment, started on first use: the CPU unless another was chosen before. */
Device& device_of(Napi::Env env);

/** A promise that is settled from the device's thread, once. If that does not happen, the environment has come to its end. */
class Pending {
 public:
  using Result = std::function<napi_value(napi_env)>;
  /** Makes the promise; the event loop is kept alive until it is settled. */
  Pending(Napi::Env env, Napi::Promise& promise);
  /** The promise takes what `result` makes on the JavaScript thread. */
  void resolve(Result result) const;
  void reject(const Failure& failure) const;

  struct Completion;

 private:
  std::shared_ptr<Completion> completion_;
};

/** Jobs that touch no more than this are over sooner than the device's thread is awake: where nothing is on its way they run on the caller's. */
constexpr size_t kShortJob = 128 << 10;

/** Runs job(stream), which touches so many bytes, after everything enqueued before. */
template <class Job> void enqueue_sized(Napi::Env env, size_t bytes, Job&& job) {
  Device& device = device_of(env);
  if (bytes > kShortJob || !device.run_here(job)) device.enqueue(std::forward<Job>(job));
}

/**
 * Runs `work` on the device's stream, then `result` on the JavaScript thread; the promise takes its value, or is rejected with
 * how the work failed. `work` may return the failure of a tensor it read.
 *
 * @param bytes  that `work` touches, if it is known
 */
Napi::Promise promise_on_stream(Napi::Env env, std::function<std::shared_ptr<const Failure>(Stream&)> work, Pending::Result result, size_t bytes = SIZE_MAX);

/** Throws into JavaScript an Error with a `code` property; lib/runtime turns it into a G2rpoError. */
[[noreturn]] void throw_js(Napi::Env env, const char* code, const std::string& message);
/** Calls f, turning every C++ exception into a JavaScript one. */
template <class F> auto guard(Napi::Env env, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& e) {
    throw_js(env, e.code, e.what());
  } catch (const std::bad_alloc&) {
    throw_js(env, "OUT_OF_MEMORY", "an allocation was refused");
  } catch (const std::exception& e) {
    throw_js(env, "INTERNAL", e.what());
  }
}
/** Wraps a function so that no C++ exception crosses the border. */
template <Napi::Value (*F)(const Napi::CallbackInfo&)> Napi::Value guarded_call(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] { return F(info); });
}

/** Opens the device of a library, for what is enqueued by this environment from the first job on. Called before it. @throws BACKEND_UNAVAILABLE */
std::shared_ptr<Accelerator> open_accelerator(const std::string& library);
/** What Accelerator says of itself. */
struct Description {
  std::string device, products;
};
/** Of the device of a library, without choosing it. @throws BACKEND_UNAVAILABLE */
Description describe_accelerator(const std::string& library);

BufferRef buffer_of(const Napi::Value& value);
Napi::Value wrap(Napi::Env env, BufferRef buffer);
/** The bytes as an ArrayBuffer, which holds them where they are if there are many; null if none can be made. */
napi_value array_buffer(napi_env env, std::shared_ptr<std::vector<char>> bytes);

void register_tensor(Napi::Env env, Napi::Object exports);
void register_launch(Napi::Env env, Napi::Object exports);
void register_policy(Napi::Env env, Napi::Object exports);
void register_host(Napi::Env env, Napi::Object exports);
void register_host_peaks(Napi::Env env, Napi::Object exports);

}  // namespace g2rpo::binding
