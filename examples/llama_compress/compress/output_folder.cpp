#include "compress/output_folder.hpp"

#include "compress/run_folder.hpp"
#include "tokenizer/utf8.hpp"

#include <subbit/io/json.hpp>

#include <fmt/format.h>
#include <unistd.h>
#include <optional>

namespace llama {

namespace fs = std::filesystem;
using nlohmann::json;

json fingerprint_of(const compress_job& job) {
    json f = {{"backend", job.on_cuda ? "cuda" : "cpu"},
              {"recipe", job.options.recipe},
              {"text", file_hash(job.text)},
              {"bos", job.reading.bos},
              {"special tokens", job.reading.specials == special_tokens::recognized},
              {"config", file_hash(job.model / "config.json")},
              {"tokenizer", file_hash(job.model / "tokenizer.json")}};
    compress_options::visit(job.options, [&](const char* name, const auto& value, const char*) { f[name] = value; });
    if (job.options.distills_on_other_text() && !job.options.samples_text())
        f["distill-text"] = file_hash(job.options.distill_text);
    for (const auto& entry : fs::directory_iterator(job.model))
        if (entry.path().extension() == ".safetensors")
            f[valid_utf8(entry.path().filename().string())] = file_hash(entry.path());
    return f;
}

std::string digest_of(const json& fingerprint) {
    const std::string text = fingerprint.dump();
    return bytes_hash(std::as_bytes(std::span(text)));
}

namespace {

/// A file of a model in the folder, or nothing.
std::optional<std::string> model_file_in(const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name == "config.json" || name == "tokenizer.json" || entry.path().extension() == ".safetensors")
            return name;
    }
    return {};
}

/// The report of a finished run, or null where there is none that this program wrote.
json report_in(const fs::path& folder) {
    const fs::path file = folder / "report.json";
    if (!fs::exists(file)) return nullptr;
    try {
        auto report = subbit::read_json(file);
        if (report.is_object() && report.value("program", json()) == "llama_compress") return report;
    } catch (const subbit::error&) {  // another program's file of that name
    }
    return nullptr;
}

/// What the settings of a report have otherwise than the job, as a clause, or that its files were others.
std::string other_settings(const json& report, const compress_job& job) {
    json asked = {{"recipe", job.options.recipe}};
    compress_options::visit(job.options,
                            [&](const char* name, const auto& value, const char*) { asked[name] = value; });
    const std::string differences = differences_of(report.value("settings", json::object()), asked);
    return differences.empty() ? "its model or texts were others" : differences;
}

/// The folder, or the first above it that is there.
fs::path nearest_folder(const fs::path& path) {
    fs::path folder = fs::absolute(path);
    std::error_code unreadable;
    while (!fs::exists(folder, unreadable) && folder.has_relative_path())
        folder = folder.parent_path();
    return folder;
}

}  // namespace

void require_own_output(const compress_job& job) {
    const fs::path& out = job.out;
    const fs::path folder = nearest_folder(out);
    if (!fs::is_directory(folder)) throw subbit::io_error(folder.string() + " is not a directory");
    if (::access(folder.c_str(), W_OK | X_OK) != 0) throw subbit::io_error(folder.string() + ": cannot be written to");
    if (!fs::exists(out)) return;
    if (fs::exists(out / "run" / "run.json")) {
        run_folder(out, fingerprint_of(job));  // which throws unless it belongs to this job
        return;
    }
    const auto file = model_file_in(out);
    if (!file) return;
    const json report = report_in(out);
    if (report.is_null())
        throw subbit::value_error(out.string() + " has a model that is no finished run of this program (" + *file +
                                  "), expected a new folder for --out");
    if (job.replace || report.value("fingerprint", json()) == digest_of(fingerprint_of(job))) return;
    throw subbit::value_error(out.string() + " has the model of another run (" + other_settings(report, job) +
                              "), expected a new folder for --out; --replace replaces the model");
}

void require_disk_space(const compress_job& job, const compress_estimate& expected) {
    std::error_code unknown;
    const auto space = fs::space(nearest_folder(job.out), unknown);
    if (unknown) return;  // a file system that does not say
    std::uintmax_t room = space.available;
    if (fs::is_directory(job.out / "run"))
        for (const auto& entry : fs::recursive_directory_iterator(job.out / "run"))
            if (entry.is_regular_file()) room += entry.file_size();
    if (room >= expected.disk_bytes) return;
    throw subbit::io_error(fmt::format("{}: the disk has room for {:.1f} MB, expected {:.1f} MB for this run",
                                       job.out.string(), static_cast<double>(room) / 1e6,
                                       static_cast<double>(expected.disk_bytes) / 1e6));
}

}  // namespace llama
