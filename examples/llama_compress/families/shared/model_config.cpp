#include "model/model_config.hpp"

#include "families/family.hpp"

#include <subbit/io/json.hpp>

#include <algorithm>

namespace llama {

namespace {

/// The family of config.json's model_type.
const family& family_of(const config_section& from) {
    const std::string type = from.text("model_type");
    std::string known;
    for (const family* f : families())
        for (const auto name : f->model_types) {
            if (name == type) return *f;
            known += (known.empty() ? "\"" : ", \"") + std::string(name) + "\"";
        }
    from.fail("model_type", "one of " + known);
}

}  // namespace

model_config parse_model_config(const nlohmann::json& document, const std::string& where) {
    const config_section from(document, where);
    const family& kind = family_of(from);
    model_config c;
    c.original = document;
    c.model_type = from.text("model_type");
    c.torch_dtype = from.text("torch_dtype", from.text("dtype"));
    kind.read(from, c);
    const auto bos = from.token_ids("bos_token_id", c.vocab_size);
    if (!bos.empty()) c.bos_token_id = bos.front();
    c.eos_token_ids = from.token_ids("eos_token_id", c.vocab_size);
    return c;
}

model_config read_model_config(const std::filesystem::path& path) {
    return parse_model_config(subbit::read_json(path), path.string());
}

}  // namespace llama
