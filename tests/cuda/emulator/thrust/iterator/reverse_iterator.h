// In the place of Thrust's.
#pragma once
#include <iterator>

namespace thrust {
using std::make_reverse_iterator;
}
