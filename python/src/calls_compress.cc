// Compress: entries of kv and scores.

#include <algorithm>
#include <array>
#include <utility>

#include "python/src/calls.h"
#include "python/src/calls_checks.h"

namespace terrace::python {
namespace {

class CompressCall : public StoreCall {
 public:
  CompressCall(StoreCore& core, const CompressArguments& in) : layer_(in.layer), graph_(in.graph) {
    tensors_.reserve(8);
    inputs_.eps = in.eps;
    inputs_.hadamard = in.hadamard;
    Take(core, in.latent, {"kv", "score", "ape", "norm_weight"}, PlaneKind::kLatent,
         &inputs_.latent);
    if (in.indexer[0].is_none() && in.indexer[1].is_none() && in.indexer[2].is_none() &&
        in.indexer[3].is_none()) {
      return;
    }
    Take(core, in.indexer, {"indexer_kv", "indexer_score", "indexer_ape", "indexer_norm_weight"},
         PlaneKind::kIndexer, &inputs_.indexer);
  }

  absl::Status Run(StoreCore& core, Stream stream) const override {
    const int32_t step_rows = core.store->step().num_token_rows;
    CompressInputs inputs = inputs_;
    int64_t fewest = INT32_MAX;
    for (const TensorIn* rows : rows_) {
      if (absl::Status status = CheckRows(*rows, step_rows, "token rows"); !status.ok()) {
        return status;
      }
      fewest = std::min(fewest, rows->shape().shape[0]);
    }
    if (graph_) {
      inputs.capacity =
          static_cast<int32_t>(std::min<int64_t>(fewest, core.store->geometry().max_step_tokens));
    }
    return core.On([&](auto& store) { return store.Compress(layer_, inputs, stream); });
  }

 private:
  void Take(StoreCore& core, const nb::handle (&values)[4], std::array<const char*, 4> names,
            PlaneKind plane, CompressPlaneIn* out) {
    const int32_t channels = core.Channels(layer_, PoolKind::kFull, plane);
    const int32_t ratio = core.Ratio(layer_);
    const int64_t width = ratio == kCsaRatio ? 2 * channels : channels;
    const TensorIn* in[4];
    for (int i = 0; i < 4; ++i) {
      in[i] = &Add(TensorIn(values[i], names[i], core.place, false));
      if (!in[i]->given()) RaiseInvalid(names[i], " is None");
      in[i]->CheckDimensions(i == 3 ? 1 : 2);
      if (i != 3) CheckWidth(*in[i], 1, width, "columns");
    }
    for (int i = 0; i < 2; ++i) {
      in[i]->CheckDenseRows();
      SetType(*in[i], &inputs_.rows, &has_rows_type_);
      rows_.push_back(in[i]);
    }
    in[2]->CheckType(kTypeFloat32, "float32");
    in[2]->CheckDense();
    CheckWidth(*in[2], 0, ratio, "rows");
    in[3]->CheckDenseRows();
    CheckWidth(*in[3], 0, channels, "weights");
    SetType(*in[3], &inputs_.norm_weight, &has_weight_type_);
    *out = {.kv = in[0]->data(),
            .score = in[1]->data(),
            .kv_pitch = in[0]->Pitch(0, width),
            .score_pitch = in[1]->Pitch(0, width),
            .ape = static_cast<const float*>(in[2]->data()),
            .norm_weight = in[3]->data()};
  }

  // All of them have one type: float32 or bf16.
  static void SetType(const TensorIn& tensor, FloatType* type, bool* is_set) {
    const bool is_float = tensor.shape().dtype == kTypeFloat32;
    if (!is_float) tensor.CheckBf16();
    const FloatType found = is_float ? FloatType::kFloat32 : FloatType::kBf16;
    if (*is_set && *type != found) {
      RaiseInvalid(tensor.name(), " is of another type than the tensors before it");
    }
    *type = found;
    *is_set = true;
  }

  int layer_;
  bool graph_;
  bool has_rows_type_ = false;
  bool has_weight_type_ = false;
  CompressInputs inputs_;
  std::vector<const TensorIn*> rows_;  // of tensors_, which has room for all and stays
};

}  // namespace

std::unique_ptr<StoreCall> MakeCompress(StoreCore& core, const CompressArguments& arguments) {
  return std::make_unique<CompressCall>(core, arguments);
}

}  // namespace terrace::python
