// The JSON reader: what it accepts, and that it refuses everything else with the place.
#include <cstdint>
#include <limits>
#include <random>
#include <string>

#include "check.hpp"
#include "forcemap/json.hpp"

using forcemap::Json;
using forcemap::JsonLimits;
using forcemap::JsonView;

namespace {

Json parse(const std::string& text, const JsonLimits& limits = {}) {
  return forcemap::parse_json(text, "doc", limits);
}

std::string string_of(const std::string& text) { return JsonView(parse(text), "doc").string(); }
double number_of(const std::string& text) { return JsonView(parse(text), "doc").number(); }

}  // namespace

TEST(values) {
  const Json json = parse(" {\"b\": [1, -2.5e1, true, false, null], \"a\": {\"x\": \"y\"}}\n");
  const JsonView view(json, "doc");
  CHECK(view.is_object());
  CHECK(view.members().size() == 2);
  CHECK(view.at("b").size() == 5);
  CHECK(view.at("b").at(0).integer(0, 1) == 1);
  CHECK(view.at("b").at(0).number() == 1.0);
  CHECK(view.at("b").at(1).number() == -25.0);
  CHECK(view.at("a").at("x").string() == "y");
  CHECK(view.has("a") && !view.has("c"));
  CHECK(parse("[]").value.index() == parse("[ ]").value.index());
}

TEST(numbers) {
  CHECK(number_of("0") == 0.0);
  CHECK(number_of("-0") == 0.0);
  CHECK(number_of("0.1") == 0.1);
  CHECK(number_of("1E+2") == 100.0);
  CHECK(number_of("2.2250738585072014e-308") == std::numeric_limits<double>::min());
  CHECK(number_of("123456789012345678901234567890") == 123456789012345678901234567890.0);
  CHECK(JsonView(parse("-9223372036854775808"), "doc").integer(INT64_MIN, 0) == INT64_MIN);
  for (const char* text : {"01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "--1", "1.e3"}) {
    CHECK_ERROR(parse(text), "doc, byte ");
  }
  CHECK_ERROR(parse("NaN"), "byte 0: found \"N\", expected a value");
  CHECK_ERROR(parse("Infinity"), "expected a value");
  CHECK_ERROR(parse("1e400"), "expected one that fits in double precision");
  CHECK_ERROR(parse("-1e400"), "expected one that fits in double precision");
}

TEST(strings) {
  CHECK(string_of(R"("a\"\\\/\b\f\n\r\t")") == "a\"\\/\b\f\n\r\t");
  CHECK(string_of(R"("\u00c5")") == "\xC3\x85");
  CHECK(string_of("\"\xC3\x85\"") == "\xC3\x85");
  CHECK(string_of(R"("\u20AC\uD83D\uDE00")") == "\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(string_of(R"("a\u0000b")") == std::string("a\0b", 3));
  CHECK_ERROR(parse("\"abc"), "byte 0: found a string that does not end");
  CHECK_ERROR(parse("\"abc\\"), "found an escape that does not end");
  CHECK_ERROR(parse(R"("\x")"), "unknown escape");
  CHECK_ERROR(parse(R"("\u12")"), "expected four hexadecimal digits");
  CHECK_ERROR(parse(R"("\u-123")"), "expected four hexadecimal digits");
  CHECK_ERROR(parse(R"("\u12g4")"), "expected four hexadecimal digits");
  CHECK_ERROR(parse(R"("\uD83D")"), "half a surrogate pair");
  CHECK_ERROR(parse(R"("\uD83D\u0041")"), "half a surrogate pair");
  CHECK_ERROR(parse(R"("\uDE00")"), "half a surrogate pair");
  CHECK_ERROR(parse("\"a\nb\""), "no control character");
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xFF",
                          "\xF4\x90\x80\x80", "\xF0\x80\x80\x80", "\xE2\x82"}) {
    CHECK_ERROR(parse("\"" + std::string(bad) + "\""), "expected UTF-8");
  }
}

TEST(structure_errors_name_the_byte) {
  CHECK_ERROR(parse(""), "byte 0: found the end of the text, expected a value");
  CHECK_ERROR(parse("[1, 2"), "byte 5: found the end of the text, expected ',' or ']'");
  CHECK_ERROR(parse("[1 2]"), "byte 3: found \"2\", expected ',' or ']'");
  CHECK_ERROR(parse("[1,]"), "byte 3: found \"]\", expected a value");
  CHECK_ERROR(parse("{\"a\" 1}"), "byte 5: found \"1\", expected ':'");
  CHECK_ERROR(parse("{\"a\": 1,}"), "byte 8: found \"}\", expected a name in quotes");
  CHECK_ERROR(parse("{\"a\": 1 \"b\"}"), "expected ',' or '}'");
  CHECK_ERROR(parse("{a: 1}"), "expected a name in quotes");
  CHECK_ERROR(parse("1 2"), "byte 2: found \"2\", expected the end of the document");
  CHECK_ERROR(parse("tru"), "byte 0: found \"t\", expected a value");
  CHECK_ERROR(parse("{\"a\": 1, \"b\": 2, \"a\": 3}"), "found the name \"a\" twice");
  CHECK_ERROR(parse(std::string("1\0", 2)), "expected the end of the document");
}

TEST(limits) {
  CHECK_ERROR(parse(std::string(1000000, '[')), "found more than 64 arrays and objects");
  CHECK(parse(std::string(64, '[') + std::string(64, ']')).value.index() > 0);
  CHECK_ERROR(parse(std::string(65, '[') + std::string(65, ']')), "found more than 64");
  CHECK_ERROR(parse("[1,2,3]", {64, 3}), "found more than 3 values");
  CHECK(JsonView(parse("[1,2,3]", {64, 4}), "doc").size() == 3);
}

TEST(views_name_the_path) {
  const Json json = parse(R"({"terms": [{"cutoff": "4", "n": 2.5, "flag": true}, null]})");
  const JsonView view(json, "file");
  const JsonView term = view.at("terms").at(0);
  CHECK_ERROR(term.at("cutoff").number(),
              "file: terms[0].cutoff: found the string \"4\", expected a number");
  CHECK_ERROR(term.at("n").integer(1, 9), "terms[0].n: found 2.5, expected an integer from 1 to 9");
  CHECK_ERROR(term.at("flag").string(), "terms[0].flag: found true, expected a string");
  CHECK_ERROR(term.at("none"), "terms[0]: found no entry \"none\"");
  CHECK_ERROR(view.at("terms").at(2), "terms: found an array of 2, expected an item 2");
  CHECK_ERROR(view.at("terms").at(1).at("x"), "terms[1]: found null, expected an object");
  CHECK_ERROR(view.at("terms").members(), "terms: found an array of 2, expected an object");
  CHECK_ERROR(view.size(), "the document: found an object, expected an array");
  CHECK_ERROR(term.allow_only({"cutoff", "n"}),
              "terms[0]: found the unknown entry \"flag\", expected only cutoff, n");
}

TEST(integers_out_of_range) {
  const Json json = parse("[10, -1, 9223372036854775808, 10.0]");
  const JsonView view(json, "file");
  CHECK_ERROR(view.at(0).integer(0, 9), "[0]: found 10, expected an integer from 0 to 9");
  CHECK_ERROR(view.at(1).integer(0, 9), "found -1");
  CHECK_ERROR(view.at(2).integer(0, INT64_MAX), "found 9223372036854775808.0");
  CHECK_ERROR(view.at(3).integer(0, 99), "found 10.0");
}

TEST(messages_are_safe_to_print) {
  CHECK(forcemap::quoted("a\x1b[31m\xC3\x85") == "\"a\\x1b[31m\xC3\x85\"");
  CHECK(forcemap::quoted("a\r\n\tb\x7f\xC2\x9b\xE2\x80\xAE\xff") ==
        "\"a\\r\\n\\tb\\x7f\\xc2\\x9b\\xe2\\x80\\xae\\xff\"");
  std::string rings;
  for (int i = 0; i < 61; ++i) rings += "\xC3\x85";
  CHECK(forcemap::quoted(rings) == "\"" + rings.substr(2) + "…\"");
  CHECK(forcemap::quoted(rings.substr(2)) == "\"" + rings.substr(2) + "\"");
  CHECK(forcemap::quoted(std::string(1000, 'x')).size() < 70);
}

TEST(random_text_gives_a_value_or_an_error) {
  std::mt19937 random(7);
  const std::string alphabet = "{}[]\",:\\u0123456789eE+-.truefalsn \n\xC3\x85\xED\xF0";
  int accepted = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string text;
    const std::size_t length = random() % 12;
    for (std::size_t i = 0; i < length; ++i) text.push_back(alphabet[random() % alphabet.size()]);
    try {
      parse(text);
      ++accepted;
    } catch (const forcemap::Error&) {
    }
  }
  CHECK(accepted > 0);
}

int main() { return check::run_all(); }
