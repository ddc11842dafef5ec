// Which kernels there are.
#pragma once
#include <functional>

#include "kernel.h"

namespace g2rpo {

/** Entries that were compiled in, usable here or not. */
const KernelEntry* kernels_begin();
const KernelEntry* kernels_end();
/** Those of a library that was loaded; they stay. */
void add_kernels(const KernelEntry* begin, const KernelEntry* end);
/** Visits all of them. */
void each_kernel(const std::function<void(const KernelEntry*)>& visit);

}  // namespace g2rpo
