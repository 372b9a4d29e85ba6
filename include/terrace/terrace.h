// Everything that an engine sees of Terrace. The codecs of rows and the arithmetic of the
// compressor are a second tier, for authors of kernels and of format checkers: terrace/formats/.
//
//   one process        cache.h
//   a scheduler        ledger.h, step_loop.h, prefix.h, metrics.h, capacity.h, limits.h
//   a worker           store.h, plan.h, step.h, step_view.h, backend.h, page_view.h
//   what a model is    model.h

#ifndef TERRACE_TERRACE_H_
#define TERRACE_TERRACE_H_

#include "terrace/backend.h"
#include "terrace/cache.h"
#include "terrace/capacity.h"
#include "terrace/chunk_digest.h"
#include "terrace/counters.h"
#include "terrace/geometry.h"
#include "terrace/ids.h"
#include "terrace/ledger.h"
#include "terrace/limits.h"
#include "terrace/metrics.h"
#include "terrace/model.h"
#include "terrace/page_view.h"
#include "terrace/plan.h"
#include "terrace/plan_format.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"
#include "terrace/step.h"
#include "terrace/step_loop.h"
#include "terrace/step_view.h"
#include "terrace/store.h"
#include "terrace/units.h"
#include "terrace/version.h"

#endif  // TERRACE_TERRACE_H_
