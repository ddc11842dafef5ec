#include <cstring>

#include "binding.h"

namespace g2rpo::binding {

namespace {

const napi_type_tag kBufferTag = {0x6732727062756666, 0x3f1d5a7c9e024b68};

DType dtype_named(const std::string& name) {
  for (DType t : {DType::f32, DType::f64, DType::i32, DType::u8, DType::bf16})
    if (name == name_of(t)) return t;
  throw Error("DTYPE_MISMATCH", "a tensor must be f32, f64, i32, u8 or bf16; got " + name);
}

/** allocate(dtype, count, zero, on host): the last one beside an accelerator, for what only updates want; on the CPU it means nothing */
Napi::Value allocate_tensor(const Napi::CallbackInfo& info) {
  const DType dtype = dtype_named(info[0].As<Napi::String>());
  const double count = info[1].As<Napi::Number>().DoubleValue();
  if (!(count >= 0 && count <= 9e15)) throw Error("INVALID_ARGUMENT", "a tensor's size must be in [0, 9e15]");
  const Place place = info[3].ToBoolean() ? Place::host : Place::device;
  auto buffer = std::make_shared<Buffer>(dtype, static_cast<size_t>(count), device_of(info.Env()).accelerator(), place);
  if (info[2].ToBoolean()) {
    enqueue_sized(info.Env(), buffer->bytes, [buffer](Stream& stream) { buffer->failure = guarded(stream, [&] { buffer->clear(stream); }); });
  }
  return wrap(info.Env(), buffer);
}

/** upload(dtype, typedArray): a copy, so that the caller may change or transfer the array at once */
Napi::Value upload(const Napi::CallbackInfo& info) {
  const DType dtype = dtype_named(info[0].As<Napi::String>());
  const auto array = info[1].As<Napi::TypedArray>();
  const size_t bytes = array.ByteLength();
  auto buffer = std::make_shared<Buffer>(dtype, bytes / size_of(dtype), device_of(info.Env()).accelerator());
  buffer->fill(static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset());
  return wrap(info.Env(), buffer);
}

/** write(tensor, typedArray): replaces the values, after everything enqueued before; clears a failure */
Napi::Value write(const Napi::CallbackInfo& info) {
  BufferRef buffer = buffer_of(info[0]);
  const auto array = info[1].As<Napi::TypedArray>();
  if (array.ByteLength() != buffer->bytes)
    throw Error("SHAPE_MISMATCH", "write: " + std::to_string(buffer->bytes) + " bytes were wanted; got " +
                                      std::to_string(array.ByteLength()));
  const char* from = static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  enqueue_sized(info.Env(), buffer->bytes, [buffer, bytes = std::vector<char>(from, from + array.ByteLength())](Stream& stream) {
    buffer->failure = guarded(stream, [&] { buffer->fill(bytes.data()); });
    buffer->writes++;
  });
  return info.Env().Undefined();
}

/** read(tensor): Promise<ArrayBuffer> */
Napi::Value read(const Napi::CallbackInfo& info) {
  BufferRef buffer = buffer_of(info[0]);
  auto bytes = std::make_shared<std::vector<char>>();
  return promise_on_stream(
      info.Env(),
      [buffer, bytes](Stream& stream) {
        if (buffer->failure) return buffer->failure;
        bytes->resize(buffer->bytes);
        buffer->read(stream, bytes->data());
        return buffer->failure;
      },
      [bytes](napi_env env) { return array_buffer(env, bytes); }, buffer->bytes);
}

/** toHost(to, from): the values of a tensor of the device become those of one of as many bytes in the host's memory */
Napi::Value to_host(const Napi::CallbackInfo& info) {
  BufferRef to = buffer_of(info[0]), from = buffer_of(info[1]);
  if (to->bytes != from->bytes || from->on_host() || (to->accelerator && !to->on_host()))
    throw Error("SHAPE_MISMATCH", "toHost: a tensor of the host and one of the device of as many bytes were wanted");
  device_of(info.Env()).enqueue([to, from](Stream& stream) {
    to->failure = from->failure ? from->failure : guarded(stream, [&] { from->read(stream, to->data); });
    to->writes++;
  });
  return info.Env().Undefined();
}

/** release(tensor): the memory goes as soon as nothing enqueued needs it */
Napi::Value release(const Napi::CallbackInfo& info) {
  auto* ref = info[0].As<Napi::External<BufferRef>>().Data();
  if (*ref) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -static_cast<int64_t>((*ref)->bytes));
  ref->reset();
  return info.Env().Undefined();
}

}  // namespace

BufferRef buffer_of(const Napi::Value& value) {
  if (!value.IsExternal() || !value.As<Napi::External<BufferRef>>().CheckTypeTag(&kBufferTag))
    throw Error("INVALID_ARGUMENT", "a native tensor was wanted");
  BufferRef ref = *value.As<Napi::External<BufferRef>>().Data();
  if (!ref) throw Error("DISPOSED", "the tensor has been disposed");
  return ref;
}

Napi::Value wrap(Napi::Env env, BufferRef buffer) {
  Napi::MemoryManagement::AdjustExternalMemory(env, static_cast<int64_t>(buffer->bytes));
  auto external = Napi::External<BufferRef>::New(env, new BufferRef(std::move(buffer)), [](Napi::BasicEnv env, BufferRef* ref) {
    if (*ref) Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>((*ref)->bytes));
    delete ref;
  });
  external.TypeTag(&kBufferTag);
  return external;
}

napi_value array_buffer(napi_env env, std::shared_ptr<std::vector<char>> bytes) {
  napi_value result = nullptr;
  if (bytes->size() >= 65536) {
    auto* keep = new std::shared_ptr<std::vector<char>>(bytes);
    if (napi_create_external_arraybuffer(
            env, bytes->data(), bytes->size(),
            [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<std::vector<char>>*>(hint); }, keep,
            &result) == napi_ok)
      return result;
    delete keep;  // an embedder without external buffers: copy
  }
  void* data = nullptr;
  if (napi_create_arraybuffer(env, bytes->size(), &data, &result) != napi_ok) return nullptr;
  if (!bytes->empty()) std::memcpy(data, bytes->data(), bytes->size());
  return result;
}

void register_tensor(Napi::Env env, Napi::Object exports) {
  exports["allocate"] = Napi::Function::New<guarded_call<allocate_tensor>>(env);
  exports["upload"] = Napi::Function::New<guarded_call<upload>>(env);
  exports["write"] = Napi::Function::New<guarded_call<write>>(env);
  exports["read"] = Napi::Function::New<guarded_call<read>>(env);
  exports["toHost"] = Napi::Function::New<guarded_call<to_host>>(env);
  exports["release"] = Napi::Function::New<guarded_call<release>>(env);
}

}  // namespace g2rpo::binding
