/** The environment, read here and handed down. */
export interface Environment {
  /** `G2RPO_DEVICE`: cpu or cuda */
  device: string | undefined;
  /** `G2RPO_CUDA_LIBRARY`: the library of the device, where it does not lie beside the addon */
  cudaLibrary: string | undefined;
  /** `G2RPO_THREADS`: threads of the CPU pool */
  threads: number | undefined;
  /**
   * `G2RPO_ISA`: the best instruction set to use: generic, avx2, avx512 or avx512bf16; for comparing them. The last one needs avx512 alone and is
   * emulated, with the same bits, where the instruction is not there; avx512bf16_emulated wants that everywhere
   */
  isa: string | undefined;
  /** `G2RPO_DEBUG`: 1 times each phase, 2 each launch, 3 checks each launch against its reference */
  debug: number;
  /** `G2RPO_BENCH_SAVE`: folder for the records of benches */
  benchSave: string | undefined;
  /** `G2RPO_PEER_PYTHON`: a Python with TRL, for benches to measure themselves beside */
  peerPython: string | undefined;
  /** `CUDA_HOME`: where the CUDA toolkit stands */
  cudaHome: string | undefined;
  /** `LD_LIBRARY_PATH`: folders in which the loader looks for libraries first */
  libraryFolders: string[];
  /** `NO_COLOR` is unset, as the convention of no-color.org wants */
  color: boolean;
}

export function environment(): Environment {
  const {
    G2RPO_DEVICE,
    G2RPO_CUDA_LIBRARY,
    G2RPO_THREADS,
    G2RPO_ISA,
    G2RPO_DEBUG,
    G2RPO_BENCH_SAVE,
    G2RPO_PEER_PYTHON,
    CUDA_HOME,
    LD_LIBRARY_PATH,
    NO_COLOR,
  } = process.env;
  return {
    device: G2RPO_DEVICE || undefined,
    cudaLibrary: G2RPO_CUDA_LIBRARY || undefined,
    threads: G2RPO_THREADS ? Number(G2RPO_THREADS) : undefined,
    isa: G2RPO_ISA || undefined,
    debug: Number(G2RPO_DEBUG ?? 0),
    benchSave: G2RPO_BENCH_SAVE || undefined,
    peerPython: G2RPO_PEER_PYTHON || undefined,
    cudaHome: CUDA_HOME || undefined,
    libraryFolders: (LD_LIBRARY_PATH ?? '').split(':').filter(Boolean),
    color: !NO_COLOR,
  };
}

/** Whether a device beside the CPU is asked for. */
export const besideCpu = (): boolean => (environment().device ?? 'cpu') !== 'cpu';

/** The environment of a process of ours, which shares the processors with others. */
export const childEnvironment = ({ threads }: { threads: number }): NodeJS.ProcessEnv => ({
  ...process.env,
  G2RPO_THREADS: String(threads),
});
