/** The public names of g2rpo. */

export { ERROR_CODES, G2rpoError, type ErrorCode } from './runtime/errors.ts';
export { limitMemory, memoryUse, type MemoryUse } from './runtime/memory.ts';
export { Scope, Tensor, tensor, zeros, type ArrayOf, type DType, type TypedArray } from './runtime/tensor.ts';
export * from './types.ts';

export type { Dims, Kernel, KernelDeclaration, ScalarSpec, TensorSpec } from './kernels/defineKernel.ts';
export { adamw } from './kernels/adamw.ts';
export { adamw8bit } from './kernels/adamw8bit.ts';
export { attention, attentionBackward, decodeAttention } from './kernels/attention.ts';
export { ema, emaExchange } from './kernels/ema.ts';
export { embedding, embeddingBackward } from './kernels/embedding.ts';
export { expertLinear, expertLinearBackwardInput, expertLinearBackwardWeight } from './kernels/expertLinear.ts';
export { expertSwiglu, expertSwigluBackward } from './kernels/expertSwiglu.ts';
export { gaussianAdvantage } from './kernels/gaussianAdvantage.ts';
export { geluErf, geluErfBackward, geluTanh, geluTanhBackward } from './kernels/gelu.ts';
export { gemm } from './kernels/gemm.ts';
export { head, headBackward, headPolicyLoss } from './kernels/head.ts';
export { layerNorm, layerNormBackward } from './kernels/layerNorm.ts';
export { linear, linearBackwardInput, linearBackwardWeight, packWeight } from './kernels/linear.ts';
export { loraBackward, loraMerge } from './kernels/lora.ts';
export { normalQuantile } from './kernels/normalQuantile.ts';
export { patchRows } from './kernels/patchRows.ts';
export { KL_KINDS, policyLoss as policyLossKernel, POLICY_LOSS_KINDS } from './kernels/policyLoss.ts';
export { positionEmbedding, positionEmbeddingBackward } from './kernels/positionEmbedding.ts';
export { rmsNorm, rmsNormBackward } from './kernels/rmsNorm.ts';
export { rotary, rotaryTable } from './kernels/rotary.ts';
export { roundBf16 } from './kernels/roundBf16.ts';
export { expertGroups, router, routerBackward } from './kernels/router.ts';
export { sample } from './kernels/sample.ts';
export { segmentStatistics } from './kernels/segmentStatistics.ts';
export { squaredNorm } from './kernels/squaredNorm.ts';
export { swiglu, swigluBackward } from './kernels/swiglu.ts';
export { deepstackAdd, gatherRows, gatherRowsBackward, visualGather, visualSplice } from './kernels/visualSplice.ts';

export {
  loadDataset,
  loadDemonstrations,
  type Dataset,
  type DatasetOptions,
  type Demonstration,
} from './data/dataset.ts';
export { writeGallery, type GalleryOptions, type GalleryReport } from './data/gallery/index.ts';
export { createPromptStream, type PromptStream, type PromptStreamOptions } from './data/promptStream.ts';
export {
  combine as combineReward,
  createRewardRunner,
  extractAnswer,
  formatReward,
  scoreResponse,
  type RewardOptions,
  type RewardRunner,
  type RewardRunnerOptions,
  type Scored,
} from './rewards/index.ts';
export { ocrReward, wordErrorRate } from './rewards/ocr.ts';
export { meanRelativeAccuracy } from './rewards/regression.ts';
export { pointSimilarity } from './rewards/segmentation.ts';
export { boxIou } from './rewards/spatialGrounding.ts';
export { keyedStructure } from './rewards/structure.ts';
export { intervalIou } from './rewards/temporalGrounding.ts';
export { trackIou } from './rewards/tracking.ts';

export {
  createAlgorithm,
  createEstimator,
  ESTIMATORS,
  fateOf,
  type Algorithm,
  type Estimator,
  type EstimatorChoice,
  type MiniBatch,
  type RewardedBatch,
} from './algorithms/index.ts';
export type { Labels, Reals } from './algorithms/arguments.ts';
export { advantages, rewardedBatch, type AdvantageInput } from './algorithms/functions/advantages.ts';
export { policyLoss, type PolicyLossInput, type PolicyLossSettings } from './algorithms/functions/policyLoss.ts';
export { entropyBand, lengthReward, type EntropyBandInput } from './algorithms/functions/shaping.ts';
export { tokenWeights, type AggregationSettings } from './algorithms/losses/aggregation.ts';
export { klTerms, type KlKind } from './algorithms/losses/kl.ts';
export { importanceWeights, type RolloutCorrection } from './algorithms/losses/rolloutCorrection.ts';
export { returnsToGo } from './algorithms/reinforcePlusPlus/advantages.ts';
export { bandPenalty, type Band, type TaskEntropy } from './algorithms/shaping/entropyBand.ts';
export { overlongPenalty, withLength, type LengthThresholds } from './algorithms/shaping/lengthReward.ts';
export {
  loadChatTemplate,
  type ChatTemplate,
  type ContentPart,
  type ImageSource,
  type Message,
  type VideoSource,
} from './model/qwen3vl/chatTemplate.ts';
export { openCheckpoint, type Checkpoint } from './model/qwen3vl/checkpoint.ts';
export { parseModelConfig, type ModelConfig } from './model/qwen3vl/config.ts';
export { decodeImage, type RgbImage } from './model/qwen3vl/decodeImage.ts';
export type { ExpertLayout } from './model/qwen3vl/expertLayout.ts';
export type { EncodedPrompt } from './model/qwen3vl/encodePrompt.ts';
export { createImageProcessor, type ImageProcessor } from './model/qwen3vl/imageProcessor.ts';
export {
  Policy,
  type ParameterUpdate,
  type EngineOptions,
  type ForwardBackwardOptions,
  type GenerateOptions,
  type Generated,
  type LossScores,
  type Parameter,
  type PatchRows,
  type PolicyBatch,
  type PolicyOptions,
  type Recompute,
  type SamplingOptions,
  type SamplingRequest,
  type Scores,
  type SubmitOptions,
} from './model/qwen3vl/policy.ts';
export { positionsOf, type GridThw } from './model/qwen3vl/positions.ts';
export { sampleFrames, timestampsOf } from './model/qwen3vl/sampleFrames.ts';
export { smartResize } from './model/qwen3vl/smartResize.ts';
export { loadTokenizer, type Tokenizer } from './model/qwen3vl/tokenizer.ts';
export { createVideoProcessor, type ProcessedVideo, type VideoProcessor } from './model/qwen3vl/videoProcessor.ts';
export { videoSize } from './model/qwen3vl/videoSize.ts';
export type { VideoOptions, VideoSettings } from './model/qwen3vl/videoSettings.ts';
export { writeCheckpoint, type NamedTensor } from './model/qwen3vl/writeCheckpoint.ts';
export { answerAll, type RolloutEngine } from './rollout/engine.ts';
export { calibrate, type CalibrateOptions, type TaskCalibration } from './train/calibrate.ts';
export { loadSftConfig, loadTrainConfig, type SftConfig, type TrainConfig } from './train/config.ts';
export { evaluate } from './train/evaluate.ts';
export { PRESETS, type Preset } from './train/presets.ts';
export { readSftConfig, readTrainConfig, type ConfigChange, type ReadConfig } from './train/readConfig.ts';
export { sft } from './train/sft.ts';
export { train, type TrainResult } from './train/train.ts';
export { createReporter, type ReporterOptions } from './report/reporter.ts';
export { createTerminal, type Terminal } from './report/terminal.ts';
