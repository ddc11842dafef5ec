import type { Group } from '../command.ts';

/** Every command by name. */
export const commands: Group = {
  description: 'Reinforcement learning for vision-language policies',
  commands: {
    train: async () => (await import('./train.ts')).train,
    sft: async () => (await import('./sft.ts')).sft,
    eval: async () => (await import('./eval.ts')).evaluation,
    ablate: async () => (await import('./ablate.ts')).ablate,
    plan: async () => (await import('./plan.ts')).plan,
    calibrate: async () => (await import('./calibrate.ts')).calibrate,
    config: async () => (await import('./config.ts')).config,
    presets: async () => (await import('./presets.ts')).presets,
    quickstart: async () => (await import('./quickstart.ts')).quickstart,
    generate: async () => (await import('./generate.ts')).generate,
    data: async () => ({
      description: 'make and check datasets',
      commands: {
        gallery: async () => (await import('./dataGallery.ts')).dataGallery,
        check: async () => (await import('./dataCheck.ts')).dataCheck,
      },
    }),
    advantages: async () => (await import('./advantages.ts')).advantages,
    doctor: async () => (await import('./doctor.ts')).doctor,
    kernels: async () => (await import('./kernels.ts')).kernels,
    metrics: async () => (await import('./metrics.ts')).metrics,
  },
};
