// The engine of a policy, between promises of JavaScript and the device's thread.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "../model/qwen3vl/engine.h"
#include "../ops/attention/op.h"
#include "arguments.h"

namespace g2rpo::binding {

/** @throws INVALID_ARGUMENT  limits within which nothing can be done */
template <class T> qwen3vl::EngineOptions engine_options(const Napi::Object& o, const qwen3vl::Config& config) {
  const int32_t page = integer(o, "pageTokens"), rollouts = integer(o, "rollouts"), rows = integer(o, "promptRows");
  if (page < 1 || rollouts < 1) throw Error("INVALID_ARGUMENT", "engine: pageTokens and rollouts must be at least 1");
  if (rows < 1 || static_cast<size_t>(rows) % kAttentionTile)
    throw Error("INVALID_ARGUMENT", "engine: promptRows must be a multiple of " + std::to_string(kAttentionTile) + "; got " + std::to_string(rows));
  const double bytes = number(o, "cacheBytes");
  const auto tokens = static_cast<size_t>(page);
  const double of_page = 2.0 * static_cast<double>(config.text.layers * config.text.key_size() * tokens * sizeof(T));
  // pages are counted in i32
  size_t pages = INT32_MAX;
  if (bytes != 0) pages = static_cast<size_t>(std::min(std::max(bytes / of_page, 0.0), static_cast<double>(pages)));
  if (pages < 2)
    throw Error("INVALID_ARGUMENT", "engine: the cache must hold two pages, of " + std::to_string(static_cast<size_t>(of_page)) +
                                        " bytes each; cacheMb gives it " + std::to_string(static_cast<size_t>(bytes)));
  return {tokens, pages, static_cast<size_t>(rollouts), static_cast<size_t>(rows)};
}

inline qwen3vl::SamplingOptions sampling_of(const Napi::Object& o) {
  qwen3vl::SamplingOptions s{integer(o, "n"),
                             integer(o, "maxTokens"),
                             {number(o, "temperature"), number(o, "topP"), number(o, "repetitionPenalty"), integer(o, "topK"), array<int32_t>(o, "bannedIds")},
                             integer(o, "seed"),
                             integer(o, "step"),
                             integer(o, "rolloutOffset"),
                             {array<int32_t>(o, "stopIds"), {}, {}}};
  const auto sequences = object(o, "stopSequences").As<Napi::Array>(), strings = object(o, "stopStrings").As<Napi::Array>();
  for (uint32_t i = 0; i < sequences.Length(); i++) s.stops.sequences.push_back(array_of<int32_t>(sequences.Get(i), "stopSequences"));
  for (uint32_t i = 0; i < strings.Length(); i++) s.stops.strings.emplace_back(array_of<uint8_t>(strings.Get(i), "stopStrings"));
  return s;
}

/** @throws INVALID_ARGUMENT  starts that do not rise from 0 to the number of bytes */
inline qwen3vl::Vocabulary vocabulary_of(const Napi::Object& o) {
  qwen3vl::Vocabulary v{array<uint8_t>(o, "bytes"), array<int32_t>(o, "starts")};
  const bool holds = !v.starts.empty() && v.starts.front() == 0 && std::is_sorted(v.starts.begin(), v.starts.end()) &&
                     static_cast<size_t>(v.starts.back()) == v.bytes.size();
  if (!holds) throw Error("INVALID_ARGUMENT", "vocabulary: starts must rise from 0 to the number of bytes");
  return v;
}

/** The engine is touched by jobs of the device alone: between two steps come submissions, aborts, and whatever else is enqueued. */
template <class T> class Sampling {
 public:
  using Self = std::shared_ptr<Sampling>;
  Sampling(const qwen3vl::Policy<T>& policy, const std::vector<BufferRef>& weights, qwen3vl::Vocabulary vocabulary, qwen3vl::EngineOptions options)
      : policy_(policy), weights_(weights), engine_(policy.config(), policy.weights(), std::move(vocabulary), options) {}

  /** submit(prompts with ropeDelta, options of each): { id, responses: n promises } for every prompt */
  Napi::Value submit(const Napi::CallbackInfo& info, const Self& self) {
    const Napi::Env env = info.Env();
    const auto batch = batch_of<T>(info[0].As<Napi::Object>(), policy_.config(), device_of(env));
    policy_.check(batch->batch);
    auto prompts = qwen3vl::prompts_of(batch->batch, batch, array<int32_t>(info[0].As<Napi::Object>(), "ropeDelta"), policy_.config().vision);
    const auto given = info[1].As<Napi::Array>();
    if (given.Length() != prompts.size()) throw Error("INVALID_ARGUMENT", "submit: there must be options for every prompt");
    std::vector<qwen3vl::SamplingOptions> options;
    for (uint32_t p = 0; p < prompts.size(); p++) {
      options.push_back(sampling_of(given.Get(p).As<Napi::Object>()));
      engine_.check(prompts[p].rows(), options.back());
    }
    auto requests = std::make_shared<std::vector<std::pair<uint64_t, qwen3vl::Request<T>>>>();
    auto result = Napi::Array::New(env, prompts.size());
    for (uint32_t p = 0; p < prompts.size(); p++) {
      const auto n = static_cast<uint32_t>(options[p].rollouts);
      auto responses = Napi::Array::New(env, n);
      std::vector<Pending> pending;
      for (uint32_t i = 0; i < n; i++) {
        Napi::Promise promise;
        pending.emplace_back(env, promise);
        responses[i] = promise;
      }
      auto o = Napi::Object::New(env);
      o["id"] = static_cast<double>(next_id_);
      o["responses"] = responses;
      result[p] = o;
      const auto settle = std::make_shared<const std::vector<Pending>>(std::move(pending));
      requests->emplace_back(next_id_++, qwen3vl::Request<T>{std::move(prompts[p]), std::move(options[p]),
                                                             [settle](size_t i, qwen3vl::Generation<T>&& g) { (*settle)[i].resolve(response(std::move(g))); },
                                                             [settle](size_t i, const Failure& failure) { (*settle)[i].reject(failure); }});
    }
    device_of(env).enqueue([self, requests, &device = device_of(env)](Stream&) {
      for (auto& [id, request] : *requests) self->engine_.submit(id, std::move(request));
      if (self->running_ || self->engine_.idle()) return;
      self->running_ = true;
      self->writes_ = self->writes();
      device.enqueue([self, &device](Stream& stream) { self->step(self, device, stream); });
    });
    return result;
  }

  /** abort(id): promises of the request that are not settled are rejected */
  void abort(const Napi::CallbackInfo& info, const Self& self) {
    const auto id = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    device_of(info.Env()).enqueue([self, id](Stream&) { self->engine_.abort(id, {"ABORTED", "generate: stopped by the caller"}); });
  }

  void end(Napi::Env env, const Self& self) {
    device_of(env).enqueue([self](Stream&) { self->engine_.abort_all({"DISPOSED", "generate: the policy has been disposed"}); });
  }

 private:
  static Pending::Result response(qwen3vl::Generation<T>&& g) {
    return [g = std::make_shared<const qwen3vl::Generation<T>>(std::move(g))](napi_env env) -> napi_value {
      auto o = Napi::Object::New(env);
      o["tokens"] = typed(env, g->tokens);
      o["logProbs"] = typed(env, g->log_probs);
      o["entropy"] = typed(env, g->entropy);
      constexpr const char* kinds[] = {"length", "id", "sequence", "string"};
      o["stop"] = kinds[static_cast<size_t>(g->stop.kind)];
      o["stopIndex"] = static_cast<double>(g->stop.index);
      return o;
    };
  }

  uint64_t writes() const {
    uint64_t sum = 0;
    for (const auto& b : weights_) sum += b->writes;
    return sum;
  }

  /** A step, and what has been enqueued meanwhile before the next one. */
  void step(const Self& self, Device& device, Stream& stream) {
    std::shared_ptr<const Failure> failure;
    for (const auto& b : weights_)
      if (b->failure) failure = b->failure;
    if (!failure && writes() != writes_)
      failure = std::make_shared<Failure>(Failure{"INVALID_ARGUMENT", "generate: weights were written while responses were being sampled"});
    if (!failure) failure = guarded(stream, [&] { engine_.step(stream); });
    if (failure) engine_.abort_all(*failure);
    running_ = !engine_.idle();
    if (running_) device.enqueue([self, &device](Stream& s) { self->step(self, device, s); });
  }

  const qwen3vl::Policy<T>& policy_;
  const std::vector<BufferRef>& weights_;
  qwen3vl::Engine<T> engine_;
  bool running_ = false;  // a step is enqueued
  uint64_t writes_ = 0;   // of the weights, when it began
  uint64_t next_id_ = 0;  // known on the JavaScript thread
};

}  // namespace g2rpo::binding
