#include "arguments.h"
#include "sampling.h"
#include "update.h"

namespace g2rpo::binding {

namespace {

using namespace g2rpo::qwen3vl;

Config config_of(const Napi::Object& o) {
  const auto t = object(o, "text"), v = object(o, "vision");
  Config c{};
  const auto section = member(t, "mropeSection").As<Napi::Array>();
  c.text = {count(t, "hidden"), count(t, "layers"),        count(t, "heads"),       count(t, "kvHeads"), count(t, "headDim"),
            count(t, "mlp"),    count(t, "vocab"),         number(t, "ropeTheta"),  number(t, "rmsNormEps"), {}};
  if (t.Has("moe")) {
    const auto m = object(t, "moe");
    c.text.moe = {count(m, "experts"), count(m, "active"), count(m, "mlp"), member(m, "normalise").ToBoolean()};
  }
  for (uint32_t i = 0; i < 3; i++) c.text.section[i] = section.Get(i).As<Napi::Number>().Int32Value();
  c.vision = {count(v, "depth"),         count(v, "hidden"), count(v, "heads"),     count(v, "mlp"), count(v, "patch"),
              count(v, "temporalPatch"), count(v, "merge"),  count(v, "positions"), {},              1e-6};
  const auto taps = member(v, "taps").As<Napi::Array>();
  for (uint32_t i = 0; i < taps.Length(); i++) c.vision.taps.push_back(taps.Get(i).As<Napi::Number>().Int32Value());
  c.tied = member(o, "tied").ToBoolean();
  return c;
}

/** What a name stands for. */
template <class Kind>
Kind kind_of(const Napi::Object& o, const char* name, std::initializer_list<std::pair<const char*, Kind>> kinds) {
  const std::string given = member(o, name).ToString();
  std::string known;
  for (const auto& [text, kind] : kinds) {
    if (given == text) return kind;
    known += known.empty() ? text : std::string(", ") + text;
  }
  throw Error("INVALID_ARGUMENT", "loss." + std::string(name) + " must be one of " + known + "; got " + given);
}

template <class T> std::shared_ptr<TokenLoss<T>> loss_of(const Napi::Object& o) {
  auto loss = std::make_shared<TokenLoss<T>>();
  loss->kind = kind_of<PolicyLossKind>(o, "kind", {{"reinforce", PolicyLossKind::reinforce}, {"ppo", PolicyLossKind::ppo},
                                                   {"cispo", PolicyLossKind::cispo}, {"sapo", PolicyLossKind::sapo}});
  loss->kl = kind_of<KlKind>(o, "klKind", {{"none", KlKind::none}, {"k1", KlKind::k1}, {"abs", KlKind::abs}, {"k2", KlKind::k2},
                                           {"k3", KlKind::k3}, {"k3+", KlKind::k3_plus}});
  loss->clip_low = number(o, "clipLow");
  loss->clip_high = number(o, "clipHigh");
  loss->clip_dual = number(o, "clipDual");
  loss->tau_positive = number(o, "tauPositive");
  loss->tau_negative = number(o, "tauNegative");
  loss->old_log_probs = array<T>(o, "oldLogProbs");
  loss->advantages = array<T>(o, "advantages");
  loss->weights = array<T>(o, "weights");
  loss->log_prob_slopes = array<T>(o, "logProbSlopes");
  loss->entropy_slopes = array<T>(o, "entropySlopes");
  loss->ref_log_probs = array<T>(o, "refLogProbs");
  loss->kl_weights = array<T>(o, "klWeights");
  return loss;
}

// --- the policy, in f32 or f64 ----------------------------------------------------------------------------------------

class AnyPolicy {
 public:
  virtual ~AnyPolicy() = default;
  virtual Napi::Value forward(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value forward_backward(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value update(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value logits(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value features(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value submit(const Napi::CallbackInfo&) = 0;
  virtual Napi::Value abort(const Napi::CallbackInfo&) = 0;
  virtual void zero_gradients(Napi::Env) = 0;
  /** What is under way fails; nothing else is asked. */
  virtual void end(Napi::Env) = 0;
};

Keep keep_named(const std::string& recompute) {
  if (recompute == "none") return Keep::everything;
  if (recompute == "selective") return Keep::products;
  if (recompute == "full") return Keep::inputs;
  throw Error("INVALID_ARGUMENT", "recompute must be none, selective or full; got " + recompute);
}

template <class T> class TypedPolicy : public AnyPolicy, public std::enable_shared_from_this<TypedPolicy<T>> {
 public:
  /** @param gradients  that are kept, of all that is trained or of nothing */
  TypedPolicy(const Config& config, const ParameterMap<T>& parameters, std::vector<BufferRef> weights,
              std::vector<BufferRef> gradients, std::vector<TrainedTensor> trained, Vocabulary vocabulary, EngineOptions options)
      : policy_(config, parameters), weights_(std::move(weights)), gradients_(std::move(gradients)), trained_(std::move(trained)),
        sampling_(policy_, weights_, std::move(vocabulary), options) {}

  Napi::Value forward(const Napi::CallbackInfo& info) override {
    auto batch = batch_of<T>(info[0].As<Napi::Object>(), policy_.config(), device_of(info.Env()));
    const double temperature = info[1].As<Napi::Number>().DoubleValue();
    auto scores = std::make_shared<Scores<T>>();
    return start(info.Env(), [=](auto& self, Stream& s) { *scores = self.forward(s, batch->batch, temperature); },
                 [scores](Napi::Env env) -> Napi::Value { return scores_value(env, *scores); });
  }

  Napi::Value forward_backward(const Napi::CallbackInfo& info) override {
    auto batch = batch_of<T>(info[0].As<Napi::Object>(), policy_.config(), device_of(info.Env()));
    auto loss = loss_of<T>(info[1].As<Napi::Object>());
    const double temperature = info[2].As<Napi::Number>().DoubleValue();
    const Keep keep = keep_named(info[3].ToString());
    const bool accumulate = info[5].ToBoolean();
    auto scores = std::make_shared<Scores<T>>();
    if (!info[4].IsNull()) {
      if (!gradients_.empty()) throw Error("INVALID_ARGUMENT", "forwardBackward: update is of a policy whose gradients are not kept");
      auto norm = std::make_shared<double>(0);
      return make_update(
          info, info[4],
          [=](TypedPolicy& self, Stream& stream, AdamWUpdate<T>& update) {
            BackwardUpdate<T> sink(update);
            *scores = self.policy_.forward_backward(stream, batch->batch, *loss, temperature, keep, accumulate, &sink);
            *norm = sink.squared_norm();
          },
          [=](napi_env env) -> napi_value {
            auto o = loss_scores_value(env, *scores);
            o["squaredNorm"] = *norm;
            return o;
          });
    }
    if (gradients_.empty() && !trained_.empty())
      throw Error("INVALID_ARGUMENT", "forwardBackward: gradients of this policy are not kept; give an update, which uses them at once");
    return start(info.Env(),
                 [=, own = this->shared_from_this()](auto& self, Stream& s) {
                   if (!accumulate)
                     for (const auto& b : own->gradients_) b->failure = nullptr;
                   *scores = self.forward_backward(s, batch->batch, *loss, temperature, keep, accumulate);
                 },
                 [scores](Napi::Env env) -> Napi::Value { return loss_scores_value(env, *scores); });
  }

  Napi::Value update(const Napi::CallbackInfo& info) override {
    if (gradients_.empty()) throw Error("INVALID_ARGUMENT", "update: gradients of this policy are not kept; the backward pass makes its updates");
    return make_update(
        info, info[0],
        [](TypedPolicy& self, Stream& stream, AdamWUpdate<T>& update) {
          for (const auto& b : self.gradients_)
            if (b->failure) throw Error(b->failure->code, b->failure->message);
          std::vector<Trained<T>> all;
          for (const auto& [name, weight, gradient] : self.trained_) {
            const size_t size = weight->bytes / size_of(weight->dtype);
            const bool narrow = weight->dtype == DType::bf16;
            all.push_back({all.size(), size, narrow ? nullptr : static_cast<T*>(weight->data), narrow ? static_cast<bf16*>(weight->data) : nullptr, static_cast<T*>(gradient->data)});
          }
          update.move(stream, all);
        },
        [](napi_env env) -> napi_value { return Napi::Env(env).Undefined(); });
  }

  Napi::Value logits(const Napi::CallbackInfo& info) override {
    auto batch = batch_of<T>(info[0].As<Napi::Object>(), policy_.config(), device_of(info.Env()));
    auto rows = array<int32_t>(info[0].As<Napi::Object>(), "rows");
    auto out = std::make_shared<std::vector<T>>();
    return start(info.Env(), [=](auto& self, Stream& s) { *out = self.logits(s, batch->batch, rows); },
                 [out](Napi::Env env) { return typed(env, *out); });
  }

  Napi::Value features(const Napi::CallbackInfo& info) override {
    auto batch = batch_of<T>(info[0].As<Napi::Object>(), policy_.config(), device_of(info.Env()));
    auto out = std::make_shared<std::vector<std::vector<T>>>();
    return start(info.Env(), [=](auto& self, Stream& s) { *out = self.features(s, batch->batch.vision); },
                 [out](Napi::Env env) {
                   auto list = Napi::Array::New(env);
                   for (uint32_t i = 0; i < out->size(); i++) list[i] = typed(env, (*out)[i]);
                   return Napi::Value(list);
                 });
  }

  Napi::Value submit(const Napi::CallbackInfo& info) override { return sampling_.submit(info, sampling()); }
  Napi::Value abort(const Napi::CallbackInfo& info) override {
    sampling_.abort(info, sampling());
    return info.Env().Undefined();
  }
  void end(Napi::Env env) override { sampling_.end(env, sampling()); }

  void zero_gradients(Napi::Env env) override {
    device_of(env).enqueue([self = this->shared_from_this()](Stream& stream) {
      const auto failure = guarded(stream, [&] {
        for (const auto& b : self->gradients_) clear(stream, static_cast<char*>(b->data), b->bytes);
      });
      for (const auto& b : self->gradients_) b->failure = failure;
    });
  }

 private:
  static Napi::Object scores_value(Napi::Env env, const Scores<T>& s) {
    auto o = Napi::Object::New(env);
    o["logProbs"] = typed(env, s.log_probs);
    o["entropy"] = typed(env, s.entropy);
    return o;
  }
  static Napi::Object loss_scores_value(Napi::Env env, const Scores<T>& s) {
    auto o = scores_value(env, s);
    o["loss"] = typed(env, s.loss);
    o["clipped"] = typed(env, s.clipped);
    return o;
  }

  /** Runs work(self, stream, update) unless something that it writes into is the result of a kernel that failed. */
  template <class F> Napi::Value make_update(const Napi::CallbackInfo& info, const Napi::Value& given, F&& work, Pending::Result result) {
    return promise_on_stream(
        info.Env(),
        [own = update_of<T>(given.As<Napi::Object>(), trained_), work, self = this->shared_from_this()](Stream& stream) -> std::shared_ptr<const Failure> {
          if (auto failure = self->failure_of_weights()) return failure;
          if (auto failure = own->earlier_failure()) return failure;
          return own->settle(guarded(stream, [&] { work(*self, stream, own->update); }));
        },
        std::move(result));
  }

  /** Runs work(policy, stream) unless a weight is the result of a kernel that failed. */
  Napi::Value start(Napi::Env env, std::function<void(Policy<T>&, Stream&)> work, std::function<Napi::Value(Napi::Env)> result) {
    auto self = this->shared_from_this();
    return promise_on_stream(
        env,
        [self, work = std::move(work)](Stream& stream) -> std::shared_ptr<const Failure> {
          if (auto failure = self->failure_of_weights()) return failure;
          work(self->policy_, stream);
          return nullptr;
        },
        [result = std::move(result)](napi_env env) -> napi_value { return result(Napi::Env(env)); });
  }

  /** How a kernel that wrote one of them failed, or null. */
  std::shared_ptr<const Failure> failure_of_weights() const {
    for (const auto& b : weights_)
      if (b->failure) return b->failure;
    return nullptr;
  }

  std::shared_ptr<Sampling<T>> sampling() { return {this->shared_from_this(), &sampling_}; }

  Policy<T> policy_;
  std::vector<BufferRef> weights_, gradients_;
  std::vector<TrainedTensor> trained_;
  Sampling<T> sampling_;
};

/**
 * new Policy(config, variant, names, weights, gradients, adapters, engine, vocabulary): lists as long as each other, null where there is
 * none, and true where there is a gradient that is not kept (dA and dB of such adapters are null);
 * engine { pageTokens, cacheBytes (0: no limit), rollouts, promptRows }, vocabulary { bytes, starts }
 */
class PolicyWrap : public Napi::ObjectWrap<PolicyWrap> {
 public:
  explicit PolicyWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PolicyWrap>(info) {
    guard(info.Env(), [&] { create(info); });
  }

  static void define(Napi::Env env, Napi::Object exports) {
    exports["Policy"] = DefineClass(env, "Policy",
                                    {InstanceMethod("forward", &PolicyWrap::call<&AnyPolicy::forward>),
                                     InstanceMethod("forwardBackward", &PolicyWrap::call<&AnyPolicy::forward_backward>),
                                     InstanceMethod("update", &PolicyWrap::call<&AnyPolicy::update>),
                                     InstanceMethod("logits", &PolicyWrap::call<&AnyPolicy::logits>),
                                     InstanceMethod("features", &PolicyWrap::call<&AnyPolicy::features>),
                                     InstanceMethod("submit", &PolicyWrap::call<&AnyPolicy::submit>),
                                     InstanceMethod("abort", &PolicyWrap::call<&AnyPolicy::abort>),
                                     InstanceMethod("zeroGradients", &PolicyWrap::zero_gradients),
                                     InstanceMethod("release", &PolicyWrap::release)});
  }

 private:
  void create(const Napi::CallbackInfo& info) {
    const Config config = config_of(info[0].As<Napi::Object>());
    const std::string variant = info[1].ToString();
    if (variant == "f64") policy_ = make<double>(info, config);
    else policy_ = make<float>(info, config);
  }

  template <class T> static T* data_of(const std::string& name, const BufferRef& b, size_t bytes) {
    if (b->dtype != DTypeOf<T>::value || b->bytes != bytes)
      throw Error("DTYPE_MISMATCH", name + " must be " + name_of(DTypeOf<T>::value) + ", weight and gradient alike; weights of f32 may be bf16");
    return static_cast<T*>(b->data);
  }

  /** { a, b, dA, dB, rank, scale }; keeps the tensors among weights and gradients. `size` is rows times columns of the weight. */
  template <class T>
  static Adapter<T> adapter_of(const std::string& name, const Napi::Object& o, size_t size, std::vector<BufferRef>& w,
                               std::vector<BufferRef>& g, std::vector<TrainedTensor>& trained) {
    const BufferRef a = buffer_of(member(o, "a")), b = buffer_of(member(o, "b"));
    const size_t number = trained.size();
    trained.insert(trained.end(), {{name + " (a)", a, nullptr}, {name + " (b)", b, nullptr}});
    const auto gradient = [&](const char* part, TrainedTensor& of) -> T* {
      const Napi::Value given = member(o, part);
      if (given.IsNull()) return nullptr;
      g.push_back(of.gradient = buffer_of(given));
      return data_of<T>(name, g.back(), of.weight->bytes);
    };
    const size_t rank = count(o, "rank"), columns = rank ? a->bytes / sizeof(T) / rank : 0, rows = rank ? b->bytes / sizeof(T) / rank : 0;
    if (rank * columns * sizeof(T) != a->bytes || rank * rows * sizeof(T) != b->bytes || rows * columns != size)
      throw Error("SHAPE_MISMATCH", name + ": a must be [rank, in] and b [out, rank] of a weight of " + std::to_string(size) + " elements");
    const Adapter<T> adapter{data_of<T>(name, a, a->bytes), data_of<T>(name, b, b->bytes), gradient("dA", trained[number]), gradient("dB", trained[number + 1]),
                             rank, columns, rows, number, binding::number(o, "scale")};
    w.insert(w.end(), {a, b});
    return adapter;
  }

  template <class T> static std::shared_ptr<AnyPolicy> make(const Napi::CallbackInfo& info, const Config& config) {
    const auto names = info[2].As<Napi::Array>(), weights = info[3].As<Napi::Array>(), gradients = info[4].As<Napi::Array>(),
               adapters = info[5].As<Napi::Array>();
    ParameterMap<T> map;
    std::vector<BufferRef> w, g;
    std::vector<TrainedTensor> trained;
    for (uint32_t i = 0; i < names.Length(); i++) {
      const std::string name = names.Get(i).ToString();
      BufferRef weight = buffer_of(weights.Get(i));
      Parameter<T> p;
      p.size = weight->bytes / size_of(weight->dtype);
      if (__is_same(T, float) && weight->dtype == DType::bf16) p.narrow = static_cast<bf16*>(weight->data);
      else p.weight = data_of<T>(name, weight, weight->bytes);
      if (const Napi::Value given = gradients.Get(i); !given.IsNull()) {
        p.number = trained.size();
        trained.push_back({name, weight, nullptr});
        if (!given.IsBoolean()) {
          g.push_back(trained.back().gradient = buffer_of(given));
          p.gradient = data_of<T>(name, g.back(), p.size * sizeof(T));
        }
      }
      if (const Napi::Value given = adapters.Get(i); !given.IsNull())
        p.adapter = adapter_of<T>(name, given.As<Napi::Object>(), p.size, w, g, trained);
      map[name] = p;
      w.push_back(std::move(weight));
    }
    return std::make_shared<TypedPolicy<T>>(config, map, std::move(w), std::move(g), std::move(trained), vocabulary_of(info[7].As<Napi::Object>()),
                                            engine_options<T>(info[6].As<Napi::Object>(), config));
  }

  AnyPolicy& policy() {
    if (!policy_) throw Error("DISPOSED", "the policy has been disposed");
    return *policy_;
  }
  template <Napi::Value (AnyPolicy::*Method)(const Napi::CallbackInfo&)> Napi::Value call(const Napi::CallbackInfo& info) {
    return guard(info.Env(), [&] { return (policy().*Method)(info); });
  }
  Napi::Value zero_gradients(const Napi::CallbackInfo& info) {
    return guard(info.Env(), [&] {
      policy().zero_gradients(info.Env());
      return info.Env().Undefined();
    });
  }
  Napi::Value release(const Napi::CallbackInfo& info) {
    return guard(info.Env(), [&] {
      if (policy_) policy_->end(info.Env());
      policy_.reset();
      return info.Env().Undefined();
    });
  }

  std::shared_ptr<AnyPolicy> policy_;
};

}  // namespace

void register_policy(Napi::Env env, Napi::Object exports) { PolicyWrap::define(env, exports); }

}  // namespace g2rpo::binding
