#include "tools/terrace/npy.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "src/base/status_macros.h"

namespace terrace::tools {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicBytes = 6;
constexpr size_t kDataAlignment = 64;  // what NumPy aligns the elements to

struct TypeName {
  NpyType type;
  int bytes;
  const char* descr;
  const char* text;
};
constexpr TypeName kTypes[] = {
    {NpyType::kUint8, 1, "|u1", "uint8"},     {NpyType::kUint16, 2, "<u2", "uint16"},
    {NpyType::kInt32, 4, "<i4", "int32"},     {NpyType::kInt64, 8, "<i8", "int64"},
    {NpyType::kFloat32, 4, "<f4", "float32"},
};

const TypeName& NameOf(NpyType type) { return kTypes[static_cast<int>(type)]; }

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable .npy file: ", what));
}

// Takes `token` off the front of `text`, skipping spaces before it.
bool Take(absl::string_view& text, absl::string_view token) {
  text = absl::StripLeadingAsciiWhitespace(text);
  return absl::ConsumePrefix(&text, token);
}

std::optional<absl::string_view> TakeQuoted(absl::string_view& text) {
  const bool single = Take(text, "'");
  if (!single && !Take(text, "\"")) return std::nullopt;
  const size_t end = text.find(single ? '\'' : '"');
  if (end == absl::string_view::npos) return std::nullopt;
  const absl::string_view quoted = text.substr(0, end);
  text.remove_prefix(end + 1);
  return quoted;
}

std::optional<std::vector<int64_t>> TakeShape(absl::string_view& text) {
  if (!Take(text, "(")) return std::nullopt;
  std::vector<int64_t> shape;
  while (!Take(text, ")")) {
    if (!shape.empty() && !Take(text, ",")) return std::nullopt;
    if (Take(text, ")")) break;  // "(128,)"
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    int64_t extent = 0;
    if (!absl::SimpleAtoi(text.substr(0, digits), &extent)) return std::nullopt;
    text.remove_prefix(digits);
    shape.push_back(extent);
  }
  return shape;
}

struct Header {
  std::optional<absl::string_view> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

// The header is a Python dictionary: {'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }
absl::StatusOr<Header> ParseHeader(absl::string_view text) {
  Header header;
  if (!Take(text, "{")) return Malformed("the header is no dictionary");
  while (!Take(text, "}")) {
    const std::optional<absl::string_view> key = TakeQuoted(text);
    if (!key.has_value() || !Take(text, ":")) return Malformed("the header is cut or garbled");
    if (*key == "descr") {
      header.descr = TakeQuoted(text);
      if (!header.descr.has_value()) return Malformed("its descr is no simple type");
    } else if (*key == "fortran_order") {
      if (Take(text, "False")) {
        header.fortran_order = false;
      } else if (Take(text, "True")) {
        header.fortran_order = true;
      } else {
        return Malformed("its fortran_order is neither True nor False");
      }
    } else if (*key == "shape") {
      header.shape = TakeShape(text);
      if (!header.shape.has_value()) return Malformed("its shape is no tuple of sizes");
    } else {
      return Malformed(absl::StrCat("unknown header key '", *key, "'"));
    }
    if (!Take(text, ",") && !absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "}")) {
      return Malformed("the header is cut or garbled");
    }
  }
  if (!absl::StripAsciiWhitespace(text).empty()) return Malformed("text follows the header");
  if (!header.descr.has_value() || !header.fortran_order.has_value() || !header.shape.has_value()) {
    return Malformed("the header lacks descr, fortran_order or shape");
  }
  return header;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

absl::Status FileError(const std::string& path, const char* action) {
  const std::string message = absl::StrCat("cannot ", action, " ", path, ": ", strerror(errno));
  return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

}  // namespace

std::string NpyShapeText(const NpyArray& array) {
  return absl::StrCat("(", absl::StrJoin(array.shape, ", "), array.shape.size() == 1 ? ",)" : ")");
}

const char* NpyTypeText(NpyType type) { return NameOf(type).text; }

absl::StatusOr<NpyArray> ParseNpy(absl::Span<const uint8_t> file) {
  const absl::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!absl::StartsWith(text, absl::string_view(kMagic, kMagicBytes))) {
    return Malformed("it does not begin with \\x93NUMPY");
  }
  if (text.size() < kMagicBytes + 2) return Malformed("it ends in the header");
  const int major = file[kMagicBytes];
  if (major != 1 && major != 2) {
    return Malformed(absl::StrCat("format ", major, ".", static_cast<int>(file[kMagicBytes + 1]),
                                  " is not supported (1.0 and 2.0 are)"));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  const size_t header_begin = kMagicBytes + 2 + length_bytes;
  if (text.size() < header_begin) return Malformed("it ends in the header");
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data() + kMagicBytes + 2, length_bytes);
  if (text.size() - header_begin < header_bytes) return Malformed("it ends in the header");

  TERRACE_ASSIGN_OR_RETURN(Header header, ParseHeader(text.substr(header_begin, header_bytes)));
  if (*header.fortran_order) return Malformed("Fortran order is not supported; save it in C order");
  const TypeName* type = nullptr;
  for (const TypeName& candidate : kTypes) {
    if (*header.descr == candidate.descr || (*header.descr == "<u1" && candidate.bytes == 1)) {
      type = &candidate;
    }
  }
  if (type == nullptr) {
    return Malformed(absl::StrCat("type '", *header.descr,
                                  "' is not supported (|u1, <u2, <i4, <i8 and <f4 are)"));
  }

  int64_t expected = type->bytes;
  for (const int64_t extent : *header.shape) {
    if (__builtin_mul_overflow(expected, extent, &expected))
      return Malformed("its shape is absurd");
  }
  const absl::Span<const uint8_t> content = file.subspan(header_begin + header_bytes);
  if (static_cast<uint64_t>(expected) != content.size()) {
    return Malformed(
        absl::StrCat("its shape needs ", expected, " bytes, it holds ", content.size()));
  }
  return NpyArray{type->type, *std::move(header.shape), {content.begin(), content.end()}};
}

std::string FormatNpyHeader(const NpyArray& array) {
  std::string text =
      absl::StrCat("{'descr': '", NameOf(array.type).descr,
                   "', 'fortran_order': False, 'shape': ", NpyShapeText(array), ", }");
  const size_t prefix = kMagicBytes + 2 + 2;
  text.append((kDataAlignment - (prefix + text.size() + 1) % kDataAlignment) % kDataAlignment, ' ');
  text.push_back('\n');
  const char version_and_length[] = {1, 0, static_cast<char>(text.size() & 255),
                                     static_cast<char>(text.size() >> 8)};
  return absl::StrCat(absl::string_view(kMagic, kMagicBytes),
                      absl::string_view(version_and_length, sizeof(version_and_length)), text);
}

absl::StatusOr<NpyArray> ReadNpy(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return FileError(path, "open");
  std::vector<uint8_t> content;
  size_t size = 0;
  do {
    content.resize(std::max<size_t>(2 * size, 1 << 16));
    size += std::fread(content.data() + size, 1, content.size() - size, file.get());
  } while (size == content.size());
  if (std::ferror(file.get()) != 0) return FileError(path, "read");
  content.resize(size);
  absl::StatusOr<NpyArray> array = ParseNpy(content);
  if (array.ok()) return array;
  return absl::Status(array.status().code(), absl::StrCat(path, ": ", array.status().message()));
}

absl::Status WriteNpy(const std::string& path, const NpyArray& array) {
  File file(std::fopen(path.c_str(), "wb"), &std::fclose);
  if (file == nullptr) return FileError(path, "create");
  const std::string header = FormatNpyHeader(array);
  const auto write = [&file](const void* bytes, size_t size) {
    return size == 0 || std::fwrite(bytes, 1, size, file.get()) == size;
  };
  const bool written =
      write(header.data(), header.size()) && write(array.bytes.data(), array.bytes.size());
  // Closing writes what is buffered, so it can fail too.
  if (std::fclose(file.release()) != 0 || !written) return FileError(path, "write");
  return absl::OkStatus();
}

}  // namespace terrace::tools
