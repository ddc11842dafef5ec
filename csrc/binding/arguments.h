// Reading what the policy is given, and handing back what it found.
#pragma once
#include <algorithm>
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

/** A packed batch with its pictures and videos, where kernels find them. */
template <class T> struct OwnedBatch {
  qwen3vl::Batch<T> batch;
  std::vector<BufferRef> pixels;

  /** A copy of them that lives as long as this. */
  template <class E> const E* keep(const E* elements, size_t count, const Device& device) {
    pixels.push_back(std::make_shared<Buffer>(DTypeOf<E>::value, count, device.accelerator()));
    pixels.back()->fill(elements);
    return static_cast<const E*>(pixels.back()->data);
  }
};

/** A list of { pixels u8, values f32[3, 256] }, of frames, or { rows f32 }. */
template <class T> void read_shown(const Napi::Object& o, const qwen3vl::Config& c, const Device& device, OwnedBatch<T>& to) {
  auto& [shown, grids] = to.batch.vision;
  grids = array<int32_t>(o, "grids");
  const auto given = object(o, "shown").As<Napi::Array>();
  if (grids.size() != 3 * size_t{given.Length()}) throw Error("SHAPE_MISMATCH", "grids must be [shown, 3]");
  std::vector<std::pair<const float*, const float*>> tables;  // of values: as they came, and where they are kept
  for (uint32_t k = 0; k < given.Length(); k++) {
    const auto one = given.Get(k).As<Napi::Object>();
    qwen3vl::Shown<T> s;
    if (one.Has("rows")) {
      const auto rows = elements_of<float>(member(one, "rows"), "rows");
      if (rows.size() != qwen3vl::patches_of(grids.data() + 3 * k) * c.vision.patch_size()) throw Error("SHAPE_MISMATCH", "rows must be those of their grid");
      if constexpr (__is_same(T, float)) s.rows = to.keep(rows.data(), rows.size(), device);
      else s.rows = to.keep(std::vector<T>(rows.begin(), rows.end()).data(), rows.size(), device);
    } else {
      const auto frames = elements_of<uint8_t>(member(one, "pixels"), "pixels");
      const auto values = elements_of<float>(member(one, "values"), "values");
      if (values.size() != 3 * 256) throw Error("SHAPE_MISMATCH", "values must be f32[3, 256]");
      auto table = std::find_if(tables.begin(), tables.end(), [&](const auto& each) { return each.first == values.data(); });
      if (table == tables.end()) table = tables.insert(table, {values.data(), to.keep(values.data(), values.size(), device)});
      s.values = table->second;
      s.frames = to.keep(frames.data(), frames.size(), device);
      s.bytes = frames.size();
    }
    shown.push_back(s);
  }
}

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
  read_shown(o, c, device, *b);
  // the rows that features fill have no embedding
  for (int32_t r : text.visual_rows)
    if (r >= 0 && static_cast<size_t>(r) < text.ids.size()) text.ids[static_cast<size_t>(r)] = -1;
  return b;
}

}  // namespace g2rpo::binding
