#include "../host/resize.h"

#include "binding.h"

namespace g2rpo::binding {

namespace {

/** Runs on a thread of the event loop's pool: neither the JavaScript thread nor the device's stream waits for it. */
class HostJob : public Napi::AsyncWorker {
 public:
  using Work = std::function<std::vector<char>()>;
  static Napi::Value start(Napi::Env env, Work work) {
    auto* job = new HostJob(env, std::move(work));  // deletes itself when it has settled
    job->Queue();
    return job->deferred_.Promise();
  }

 protected:
  void Execute() override {
    try {
      bytes_ = std::make_shared<std::vector<char>>(work_());
    } catch (const std::bad_alloc&) {
      code_ = "OUT_OF_MEMORY";
      SetError("image: an allocation was refused");
    }
  }
  void OnOK() override { deferred_.Resolve(array_buffer(Env(), bytes_)); }
  void OnError(const Napi::Error& error) override {
    Napi::Object value = error.Value();
    value["code"] = Napi::String::New(Env(), code_);
    deferred_.Reject(value);
  }

 private:
  HostJob(Napi::Env env, Work work) : AsyncWorker(env), work_(std::move(work)), deferred_(env) {}
  Work work_;
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<std::vector<char>> bytes_;
  const char* code_ = "INTERNAL";
};

int64_t size_at(const Napi::CallbackInfo& info, size_t i, const char* name) {
  const double value = info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : 0;
  if (!(value >= 1 && value <= 1 << 24 && value == static_cast<double>(static_cast<int64_t>(value))))
    throw Error("INVALID_ARGUMENT", std::string(name) + " must be an integer from 1 to 16777216; got " + std::to_string(value));
  return static_cast<int64_t>(value);
}

/** A copy of the pixels, since the caller may change or transfer the array before the work is done. */
std::shared_ptr<const std::vector<uint8_t>> pixels_at(const Napi::CallbackInfo& info, host::ImageSize size) {
  if (!info[0].IsTypedArray()) throw Error("INVALID_ARGUMENT", "pixels must be a Uint8Array");
  const auto array = info[0].As<Napi::TypedArray>();
  const auto wanted = static_cast<size_t>(size.height * size.width * 3);
  if (array.ByteLength() != wanted)
    throw Error("SHAPE_MISMATCH", "pixels must be u8[" + std::to_string(size.height) + ", " + std::to_string(size.width) +
                                      ", 3]; got " + std::to_string(array.ByteLength()) + " bytes");
  const auto* data = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return std::make_shared<const std::vector<uint8_t>>(data, data + wanted);
}

/** resizeBicubic(pixels, height, width, newHeight, newWidth): Promise<ArrayBuffer> */
Napi::Value resize_bicubic(const Napi::CallbackInfo& info) {
  const host::ImageSize from{size_at(info, 1, "height"), size_at(info, 2, "width")};
  const host::ImageSize to{size_at(info, 3, "newHeight"), size_at(info, 4, "newWidth")};
  return HostJob::start(info.Env(), [pixels = pixels_at(info, from), from, to] {
    std::vector<char> out(static_cast<size_t>(to.height * to.width * 3));
    host::resize_bicubic(pixels->data(), from, reinterpret_cast<uint8_t*>(out.data()), to);
    return out;
  });
}

}  // namespace

void register_host(Napi::Env env, Napi::Object exports) {
  exports["resizeBicubic"] = Napi::Function::New<guarded_call<resize_bicubic>>(env);
}

}  // namespace g2rpo::binding
