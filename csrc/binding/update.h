// Reading an update that the backward pass is to make, and keeping what it writes into.
#pragma once
#include "../model/qwen3vl/update.h"
#include "arguments.h"

namespace g2rpo::binding {

/** A tensor that is trained, by its number. */
struct TrainedTensor {
  std::string name;
  BufferRef weight;
};

/** An update with all that it writes into. */
template <class T> struct OwnedUpdate {
  qwen3vl::BackwardUpdate<T> update;
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
          failure->code, failure->message + ", in the middle of an update that the backward pass makes: some parameters have moved and others have not, so none can be used any more"});
    for (const auto& b : written) {
      b->writes++;
      if (failure) b->failure = failure;
    }
    return failure;
  }
};

/** Where the values of one of an update's tensors are. */
template <class E> E* state_of(const Napi::Value& value, const std::string& name, size_t size, std::vector<BufferRef>& written) {
  BufferRef buffer = buffer_of(value);
  if (buffer->dtype != DTypeOf<E>::value || buffer->bytes != size * sizeof(E))
    throw Error("SHAPE_MISMATCH", "update: " + name + " must have " + name_of(DTypeOf<E>::value) + "[" + std::to_string(size) + "] beside it; got " +
                                      name_of(buffer->dtype) + " of " + std::to_string(buffer->bytes) + " bytes");
  auto* values = static_cast<E*>(buffer->data);
  written.push_back(std::move(buffer));
  return values;
}

/** { learningRate, beta1, beta2, epsilon, weightDecay, step, tensors: of each that is trained { place, master or null, moments: 2 reals, or 2 of codes and 2 of scales } } */
template <class T> std::shared_ptr<OwnedUpdate<T>> update_of(const Napi::Object& o, const std::vector<TrainedTensor>& trained) {
  constexpr size_t kScaled = 256;  // elements that share a scale
  const auto given = object(o, "tensors").As<Napi::Array>();
  if (given.Length() != trained.size())
    throw Error("SHAPE_MISMATCH", "update: there must be moments of " + std::to_string(trained.size()) + " tensors; got " + std::to_string(given.Length()));
  std::vector<qwen3vl::Moments<T>> moments;
  std::vector<BufferRef> written;
  for (uint32_t k = 0; k < trained.size(); k++) {
    const auto& [name, weight] = trained[k];
    const auto each = given.Get(k).As<Napi::Object>();
    const size_t size = weight->bytes / size_of(weight->dtype);
    qwen3vl::Moments<T> m;
    m.name = name;
    m.place = integer(each, "place");
    if (const Napi::Value master = member(each, "master"); !master.IsNull()) m.master = state_of<T>(master, name, size, written);
    const auto list = object(each, "moments").As<Napi::Array>();
    if (list.Length() == 2) {
      m.first = state_of<T>(list.Get(0u), name, size, written);
      m.second = state_of<T>(list.Get(1u), name, size, written);
    } else if (list.Length() == 4) {
      m.scales = (size + kScaled - 1) / kScaled;
      m.first_codes = state_of<uint8_t>(list.Get(0u), name, size, written);
      m.second_codes = state_of<uint8_t>(list.Get(1u), name, size, written);
      m.first_scales = state_of<float>(list.Get(2u), name, m.scales, written);
      m.second_scales = state_of<float>(list.Get(3u), name, m.scales, written);
    } else {
      throw Error("INVALID_ARGUMENT", "update: " + name + " must have two moments, or two of codes and two of scales; got " + std::to_string(list.Length()));
    }
    moments.push_back(std::move(m));
    written.push_back(weight);
  }
  const qwen3vl::AdamWScalars scalars{number(o, "learningRate"), number(o, "beta1"), number(o, "beta2"), number(o, "epsilon"), number(o, "weightDecay"), integer(o, "step")};
  return std::make_shared<OwnedUpdate<T>>(OwnedUpdate<T>{qwen3vl::BackwardUpdate<T>(std::move(moments), scalars), std::move(written)});
}

}  // namespace g2rpo::binding
