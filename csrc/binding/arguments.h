// Reading what the policy is given, and handing back what it found.
#pragma once
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "../core/status.h"
#include "../model/qwen3vl/policy.h"
#include "binding.h"

namespace g2rpo::binding {

inline Napi::Value member(const Napi::Object& o, const char* name) {
  const Napi::Value v = o.Get(name);
  if (v.IsUndefined()) throw Error("INVALID_ARGUMENT", std::string(name) + " is missing");
  return v;
}
inline double number(const Napi::Object& o, const char* name) {
  const Napi::Value v = member(o, name);
  if (!v.IsNumber()) throw Error("INVALID_ARGUMENT", std::string(name) + " must be a number");
  return v.As<Napi::Number>().DoubleValue();
}
inline size_t count(const Napi::Object& o, const char* name) { return static_cast<size_t>(number(o, name)); }
inline int32_t integer(const Napi::Object& o, const char* name) {
  const double value = number(o, name);
  if (!(value >= INT32_MIN && value <= INT32_MAX && value == std::floor(value)))
    throw Error("INVALID_ARGUMENT", std::string(name) + " must be an integer of 32 bits; got " + std::to_string(value));
  return static_cast<int32_t>(value);
}
inline Napi::Object object(const Napi::Object& o, const char* name) {
  const Napi::Value v = member(o, name);
  if (!v.IsObject()) throw Error("INVALID_ARGUMENT", std::string(name) + " must be an object");
  return v.As<Napi::Object>();
}

template <class T> constexpr napi_typedarray_type kArrayType = napi_int32_array;
template <> constexpr napi_typedarray_type kArrayType<uint8_t> = napi_uint8_array;
template <> constexpr napi_typedarray_type kArrayType<float> = napi_float32_array;
template <> constexpr napi_typedarray_type kArrayType<double> = napi_float64_array;

/** Those of an array, as long as it stays what it is. */
template <class T> std::span<const T> elements_of(const Napi::Value& v, const char* name) {
  if (!v.IsTypedArray() || v.As<Napi::TypedArray>().TypedArrayType() != kArrayType<T>)
    throw Error("DTYPE_MISMATCH", std::string(name) + " must be " + name_of(DTypeOf<T>::value));
  const auto a = v.As<Napi::TypedArray>();
  return {reinterpret_cast<const T*>(static_cast<const char*>(a.ArrayBuffer().Data()) + a.ByteOffset()), a.ElementLength()};
}
/** A copy: the caller may change the array at once, and the job runs later. */
template <class T> std::vector<T> array_of(const Napi::Value& v, const char* name) {
  const auto elements = elements_of<T>(v, name);
  return std::vector<T>(elements.begin(), elements.end());
}
template <class T> std::vector<T> array(const Napi::Object& o, const char* name) { return array_of<T>(member(o, name), name); }

template <class T> Napi::Value typed(Napi::Env env, const std::vector<T>& v) {
  auto buffer = Napi::ArrayBuffer::New(env, v.size() * sizeof(T));
  if (!v.empty()) std::memcpy(buffer.Data(), v.data(), v.size() * sizeof(T));
  return Napi::TypedArrayOf<T>::New(env, v.size(), buffer, 0);
}

/** A packed batch with its pixels, where kernels find them. */
template <class T> struct OwnedBatch {
  qwen3vl::Batch<T> batch;
  BufferRef pixels;
};

template <class T> std::shared_ptr<OwnedBatch<T>> batch_of(const Napi::Object& o, const qwen3vl::Config& c, const Device& device) {
  auto b = std::make_shared<OwnedBatch<T>>();
  auto& text = b->batch.text;
  text.ids = array<int32_t>(o, "inputIds");
  text.positions = array<int32_t>(o, "positionIds");
  text.segment_starts = array<int32_t>(o, "segmentStarts");
  text.segment_prefix = array<int32_t>(o, "segmentPrefix");
  text.visual_rows = array<int32_t>(o, "visualRows");
  text.visual_source = array<int32_t>(o, "visualSource");
  b->batch.target_rows = array<int32_t>(o, "targetRows");
  b->batch.target_ids = array<int32_t>(o, "targetIds");
  b->batch.vision.grids = array<int32_t>(o, "grids");
  const std::span<const T> pixels = elements_of<T>(member(o, "pixels"), "pixels");
  b->batch.vision.patches = pixels.size() / c.vision.patch_size;
  if (pixels.size() % c.vision.patch_size || b->batch.vision.grids.size() % 3)
    throw Error("SHAPE_MISMATCH", "pixels must be rows of " + std::to_string(c.vision.patch_size) + ", grids rows of 3");
  b->pixels = std::make_shared<Buffer>(DTypeOf<T>::value, pixels.size(), device.accelerator());
  b->pixels->fill(pixels.data());
  b->batch.vision.pixels = static_cast<const T*>(b->pixels->data);
  // the rows that features fill have no embedding
  for (int32_t r : text.visual_rows)
    if (r >= 0 && static_cast<size_t>(r) < text.ids.size()) text.ids[static_cast<size_t>(r)] = -1;
  return b;
}

}  // namespace g2rpo::binding
