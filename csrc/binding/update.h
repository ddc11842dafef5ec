// Reading an update that the engine is to make, and keeping what it writes into.
#pragma once
#include "../model/qwen3vl/update.h"
#include "arguments.h"

namespace g2rpo::binding {

/** A tensor that is trained, by its number. */
struct TrainedTensor {
  std::string name;
  BufferRef weight;
  BufferRef gradient;  // null where it is not kept
};

/** An update with all that it writes into. */
template <class T> struct OwnedUpdate {
  qwen3vl::AdamWUpdate<T> update;
  std::vector<BufferRef> written;
  /** How one of these failed before, or null. */
  std::shared_ptr<const Failure> earlier_failure() const {
    for (const auto& b : written)
      if (b->failure) return b->failure;
    return nullptr;
  }
  /** Notes that they have been written, whole or in part, and how that failed, or null. Returns how the pass failed. */
  std::shared_ptr<const Failure> settle(std::shared_ptr<const Failure> failure) const {
    if (!update.begun()) return failure;
    if (failure)
      failure = std::make_shared<const Failure>(Failure{
          failure->code, failure->message + ", in the middle of an update: some parameters have moved and others have not, so none can be used any more"});
    for (const auto& b : written) {
      b->writes++;
      if (failure) b->failure = failure;
    }
    return failure;
  }
};

/** Where the values of one of an update's tensors are: on the host as the others of the same parameter, or not, as they. */
template <class E> E* state_of(const Napi::Value& value, const std::string& name, size_t size, bool on_host, std::vector<BufferRef>& written) {
  BufferRef buffer = buffer_of(value);
  if (buffer->on_host() != on_host) throw Error("INVALID_ARGUMENT", "update: all that is kept of " + name + " must be on the device, or all of it in the host's memory");
  if (buffer->dtype != DTypeOf<E>::value || buffer->bytes != size * sizeof(E))
    throw Error("SHAPE_MISMATCH", "update: " + name + " must have " + name_of(DTypeOf<E>::value) + "[" + std::to_string(size) + "] beside it; got " +
                                      name_of(buffer->dtype) + " of " + std::to_string(buffer->bytes) + " bytes");
  auto* values = static_cast<E*>(buffer->data);
  written.push_back(std::move(buffer));
  return values;
}

/** { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale, pieceElements, tensors: of each that is trained { place, master or null, moments: 2 reals, or 2 of codes and 2 of scales } } */
template <class T> std::shared_ptr<OwnedUpdate<T>> update_of(const Napi::Object& o, const std::vector<TrainedTensor>& trained) {
  const auto given = object(o, "tensors").As<Napi::Array>();
  if (given.Length() != trained.size())
    throw Error("SHAPE_MISMATCH", "update: there must be moments of " + std::to_string(trained.size()) + " tensors; got " + std::to_string(given.Length()));
  std::vector<qwen3vl::Moments<T>> moments;
  std::vector<BufferRef> written;
  for (uint32_t k = 0; k < trained.size(); k++) {
    const auto& [name, weight, gradient] = trained[k];
    const auto each = given.Get(k).As<Napi::Object>();
    const size_t size = weight->bytes / size_of(weight->dtype);
    qwen3vl::Moments<T> m;
    m.name = name;
    m.place = integer(each, "place");
    const auto list = object(each, "moments").As<Napi::Array>();
    m.on_host = list.Length() > 0 && buffer_of(list.Get(0u))->on_host();
    const auto state = [&]<class E>(E*& values, const Napi::Value& value, size_t count) { values = state_of<E>(value, name, count, m.on_host, written); };
    if (const Napi::Value master = member(each, "master"); !master.IsNull()) state(m.master, master, size);
    if (list.Length() == 2) {
      state(m.first, list.Get(0u), size);
      state(m.second, list.Get(1u), size);
    } else if (list.Length() == 4) {
      state(m.first_codes, list.Get(0u), size);
      state(m.second_codes, list.Get(1u), size);
      state(m.first_scales, list.Get(2u), qwen3vl::scales_of(size));
      state(m.second_scales, list.Get(3u), qwen3vl::scales_of(size));
    } else {
      throw Error("INVALID_ARGUMENT", "update: " + name + " must have two moments, or two of codes and two of scales; got " + std::to_string(list.Length()));
    }
    moments.push_back(std::move(m));
    written.push_back(weight);
  }
  const qwen3vl::AdamWScalars scalars{number(o, "learningRate"), number(o, "beta1"), number(o, "beta2"), number(o, "epsilon"), number(o, "weightDecay"), integer(o, "step"), number(o, "gradientScale"), count(o, "pieceElements")};
  if (scalars.piece == 0 || scalars.piece % qwen3vl::kScaledElements)
    throw Error("INVALID_ARGUMENT", "update: pieceElements must be a multiple of 256; got " + std::to_string(scalars.piece));
  return std::make_shared<OwnedUpdate<T>>(OwnedUpdate<T>{qwen3vl::AdamWUpdate<T>(std::move(moments), scalars), std::move(written)});
}

}  // namespace g2rpo::binding
