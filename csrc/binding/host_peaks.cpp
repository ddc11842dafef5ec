#include "../host/peaks.h"
#include "binding.h"

namespace g2rpo::binding {

namespace {

/** measurePeaks(): { flops, bf16Flops, bytes }, per second of one core; on the calling thread */
Napi::Value measure_peaks(const Napi::CallbackInfo& info) {
  const host::Peaks peaks = host::measure_peaks();
  auto result = Napi::Object::New(info.Env());
  result["flops"] = Napi::Number::New(info.Env(), peaks.flops);
  result["bf16Flops"] = Napi::Number::New(info.Env(), peaks.bf16_flops);
  result["bytes"] = Napi::Number::New(info.Env(), peaks.bytes);
  return result;
}

}  // namespace

void register_host_peaks(Napi::Env env, Napi::Object exports) {
  exports["measurePeaks"] = Napi::Function::New<guarded_call<measure_peaks>>(env);
}

}  // namespace g2rpo::binding
