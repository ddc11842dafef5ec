#pragma once
#include "../../core/dtype.h"

namespace g2rpo {

/** Bytes of the last cache that a core may use, with others; SIZE_MAX where the system does not say. */
size_t last_cache_bytes();

}  // namespace g2rpo
