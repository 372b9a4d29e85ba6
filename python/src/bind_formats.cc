#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/tensors.h"
#include "python/src/words.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_format.h"
#include "terrace/units.h"
#include "tools/terrace/commands/row_pages.h"

namespace terrace::python {
namespace {

constexpr Place kHost = {};
constexpr dlpack::DataType kTypeUint8 = {dlpack::kUInt, 8, 1};

tools::PageOptions OptionsOf(nb::handle format, int64_t page_rows, int64_t align,
                             float global_scale) {
  if (page_rows < 1 || page_rows > (1 << 20) || (page_rows & (page_rows - 1)) != 0) {
    RaiseInvalid("page_rows is ", page_rows, ", not a power of two up to 2^20");
  }
  if (align < 1 || align > (1 << 30)) RaiseInvalid("align is ", align, ", not in 1..2^30");
  if (!std::isfinite(global_scale) || global_scale <= 0) {
    RaiseInvalid("global_scale is ", global_scale, ", not finite and above 0");
  }
  return {.format = RowFormatOf(format),
          .page_rows = page_rows,
          .align = align,
          .global_scale = global_scale,
          .rope_table = {}};
}

// The rope table, if there is one, with `fewest` to `most` rows.
TensorIn RopeOf(nb::handle table, int64_t fewest, int64_t most) {
  TensorIn rope(table, "rope_table", kHost, false);
  if (!rope.given()) return rope;
  rope.CheckDimensions(2);
  rope.CheckType(kTypeFloat32, "float32");
  rope.CheckDense();
  const int64_t rows = rope.shape().shape[0];
  if (rope.shape().shape[1] != kRopeChannels || rows < fewest || rows > most) {
    RaiseInvalid("rope_table is [", rows, ", ", rope.shape().shape[1], "]; it must be [", fewest,
                 fewest == most ? std::string() : absl::StrCat("..", most), ", ", kRopeChannels,
                 "], one row per entry");
  }
  return rope;
}

nb::object NewArray(const char* maker, int64_t rows, int64_t columns, const char* type) {
  return nb::module_::import_("numpy").attr(maker)(nb::make_tuple(rows, columns), type);
}

nb::object Encode(nb::handle rows, nb::handle format, int64_t page_rows, int64_t align,
                  float global_scale, nb::handle rope_table) {
  const tools::PageOptions options = OptionsOf(format, page_rows, align, global_scale);
  const TensorIn in(rows, "rows", kHost, false);
  const int64_t channels = LayoutOf(options.format).channels;
  if (!in.given()) RaiseInvalid("rows is None");
  in.CheckDimensions(2);
  in.CheckBf16();
  in.CheckDense();
  if (in.shape().shape[1] != channels) {
    RaiseInvalid("rows has ", in.shape().shape[1], " channels; ", RowFormatName(options.format),
                 " takes ", channels);
  }
  const int64_t n = in.shape().shape[0];
  const TensorIn rope = RopeOf(rope_table, n, n);
  nb::object pages = NewArray("zeros", CeilDiv(n, page_rows), options.page_bytes(), "uint8");
  const TensorIn out(pages, "pages", kHost, true);
  const int64_t bad_values = [&] {
    const nb::gil_scoped_release released;
    return tools::EncodePages(static_cast<const uint16_t*>(in.data()), n,
                              static_cast<const float*>(rope.data()), options,
                              static_cast<uint8_t*>(out.data()));
  }();
  return nb::make_tuple(pages, bad_values);
}

nb::object Decode(nb::handle pages, nb::handle format, int64_t page_rows, int64_t align,
                  float global_scale, nb::handle rope_table) {
  const tools::PageOptions options = OptionsOf(format, page_rows, align, global_scale);
  const TensorIn in(pages, "pages", kHost, false);
  if (!in.given()) RaiseInvalid("pages is None");
  in.CheckDimensions(2);
  in.CheckType(kTypeUint8, "uint8");
  in.CheckDense();
  if (in.shape().shape[1] != options.page_bytes()) {
    RaiseInvalid("pages has ", in.shape().shape[1], " bytes a page; ",
                 RowFormatName(options.format), " has ", options.page_bytes(), " with page_rows ",
                 page_rows, " and align ", align);
  }
  const int64_t num_pages = in.shape().shape[0];
  const int64_t n = num_pages * page_rows;
  const TensorIn rope = RopeOf(rope_table, std::max<int64_t>(n - page_rows + 1, 0), n);
  nb::object rows = NewArray("empty", n, LayoutOf(options.format).channels, "uint16");
  const TensorIn out(rows, "rows", kHost, true);
  {
    const nb::gil_scoped_release released;
    tools::DecodePages(
        static_cast<const uint8_t*>(in.data()), num_pages, static_cast<const float*>(rope.data()),
        rope.given() ? rope.shape().shape[0] : 0, options, static_cast<uint16_t*>(out.data()));
  }
  return rows;
}

nb::object RopeTable(int64_t positions, const RopeSpec& rope) {
  if (positions < 0 || positions > (int64_t{1} << 24)) {
    RaiseInvalid("positions is ", positions, ", not in 0..2^24");
  }
  if (!(rope.base > 1)) RaiseInvalid("the rope's base is ", rope.base, ", not above 1");
  nb::object table = NewArray("empty", positions, kRopeChannels, "float32");
  const TensorIn out(table, "table", kHost, true);
  const nb::gil_scoped_release released;
  const auto frequencies = RopeFrequencies(rope);
  float* row = static_cast<float*>(out.data());
  for (int64_t p = 0; p < positions; ++p, row += kRopeChannels) FillRopeRow(frequencies, p, row);
  return table;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (int f = 0; f < kNumRowFormats; ++f) names.push_back(WordOf(static_cast<RowFormat>(f)));
  return names;
}

}  // namespace

void BindFormats(nb::module_& module) {
  nb::class_<RowLayout>(module, "RowLayout", "Sizes of one row of a format.")
      .def_ro("channels", &RowLayout::channels)
      .def_ro("data_bytes", &RowLayout::data_bytes)
      .def_ro("scale_bytes", &RowLayout::scale_bytes)
      .def_ro("group", &RowLayout::group, "Channels that share one scale; 0 where there is none.")
      .def_prop_ro("row_bytes", &RowLayout::row_bytes)
      .def_prop_ro("data_stride", &RowLayout::data_stride, "Bytes between two data rows of a page.")
      .def_prop_ro("scale_stride", &RowLayout::scale_stride,
                   "Bytes between two scale rows of a page.");
  module.def("format_names", &Names, "The names of all row formats.");
  module.def(
      "format_layout", [](nb::handle format) { return LayoutOf(RowFormatOf(format)); }, "format"_a,
      nb::sig("def format_layout(format: str) -> RowLayout"),
      "Sizes of one row. Raises InvalidArgument that lists the names.");
  module.def(
      "page_bytes",
      [](nb::handle format, int64_t page_rows, int64_t align) {
        return OptionsOf(format, page_rows, align, 1).page_bytes();
      },
      "format"_a, "page_rows"_a = 64, "align"_a = 16,
      nb::sig("def page_bytes(format: str, page_rows: int = 64, align: int = 16) -> int"),
      "Bytes of a page, padding included.");
  module.def(
      "encode", &Encode, "rows"_a, "format"_a = "flashmla_v4", nb::kw_only(), "page_rows"_a = 64,
      "align"_a = 16, "global_scale"_a = 1.0f, "rope_table"_a.none() = nb::none(),
      nb::sig("def encode(rows: Tensor, format: str = 'flashmla_v4', *, page_rows: int = 64, "
              "align: int = 16, global_scale: float = 1.0, rope_table: Tensor | None = None) "
              "-> tuple[ByteArray, int]"),
      "Rows to pages: what a store writes, byte for byte.\n\n"
      "rows: bf16 [n, channels], or its bits as uint16. rope_table: float32 [n, 64], one row\n"
      "an entry: rotate before encoding. Gives uint8 [ceil(n / page_rows), page bytes], zeros\n"
      "where no row is, and how many NaN and infinities were replaced.\n\n"
      "Raises InvalidArgument. Releases the GIL.");
  module.def(
      "decode", &Decode, "pages"_a, "format"_a = "flashmla_v4", nb::kw_only(), "page_rows"_a = 64,
      "align"_a = 16, "global_scale"_a = 1.0f, "rope_table"_a.none() = nb::none(),
      nb::sig("def decode(pages: Tensor, format: str = 'flashmla_v4', *, page_rows: int = 64, "
              "align: int = 16, global_scale: float = 1.0, rope_table: Tensor | None = None) "
              "-> Bf16Array"),
      "Pages to rows: bf16 as uint16 [m * page_rows, channels], all rows of every page.\n\n"
      "pages: uint8 [m, page bytes]. Raises InvalidArgument. Releases the GIL.");
  module.def(
      "rope_table", &RopeTable, "positions"_a, "rope"_a,
      nb::sig("def rope_table(positions: int, rope: RopeSpec) -> FloatArray"),
      "float32 [positions, 64]: 32 cosines, then 32 sines a position, as a Cache makes them.\n\n"
      "rope: of model.ropes. About 1 us a position. Releases the GIL.");
}

}  // namespace terrace::python
