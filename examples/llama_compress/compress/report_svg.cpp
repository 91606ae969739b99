// The picture of a report: error per layer and stage over the blocks, and the loss curves, as one SVG without scripts.
#include "compress/report.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

namespace llama {

namespace {

using nlohmann::json;

struct series {
    std::string color;
    std::vector<double> values;  // at x = 0, 1, ...; not finite: a gap
};

constexpr const char* before_color = "#e07b39";
constexpr const char* after_color = "#2b6cb0";
constexpr const char* text_color = "#2d3748";
constexpr const char* grid_color = "#e2e8f0";

std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text)
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            default:
                result += c;
        }
    return result;
}

std::string text_at(double x, double y, const std::string& text, int size = 12, const char* extra = "") {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" fill=\"{}\" {}>{}</text>\n", x, y, size,
                       text_color, extra, escaped(text));
}

/// Where an axis begins and ends, and its marks.
struct axis {
    double low = 0, high = 1;
    bool logarithmic = false;
    std::vector<double> marks;

    /// 0 at the axis' low end, 1 at its high end.
    double place(double v) const {
        return logarithmic ? (std::log(v) - std::log(low)) / (std::log(high) - std::log(low))
                           : (v - low) / (high - low);
    }
};

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into about `count` parts.
double round_step(double range, int count) {
    const double raw = range / count, power = std::pow(10.0, std::floor(std::log10(raw)));
    for (const double factor : {1.0, 2.0, 5.0})
        if (raw <= factor * power) return factor * power;
    return 10 * power;
}

axis linear_axis(double low, double high, int count) {
    axis a;
    const double step = round_step(std::max(high - low, 1e-9), count);
    a.low = std::floor(low / step) * step;
    a.high = std::ceil(high / step) * step;
    if (a.high <= a.low) a.high = a.low + step;
    for (double v = a.low; v <= a.high + step / 2; v += step)
        a.marks.push_back(std::abs(v) < step / 2 ? 0 : v);
    return a;
}

axis logarithmic_axis(double low, double high) {
    axis a;
    a.logarithmic = true;
    a.low = low / 1.1;
    a.high = high * 1.1;
    const double decades = std::log10(a.high / a.low);
    for (double power = std::pow(10.0, std::floor(std::log10(a.low))); power <= a.high; power *= 10)
        for (const double factor : {1.0, 2.0, 5.0})
            if (const double v = factor * power; (factor == 1.0 || decades < 2.5) && v >= a.low && v <= a.high)
                a.marks.push_back(v);
    if (a.marks.size() >= 3) return a;
    a.marks.clear();
    for (const double v : linear_axis(a.low, a.high, 4).marks)
        if (v >= a.low && v <= a.high) a.marks.push_back(v);
    return a;
}

/// One panel: a title, two axes, lines.
struct panel {
    double left, top, width, height;
    std::string title, x_label;
    bool logarithmic = false;
    double x_offset = 0;  // what x = 0 is called

    std::string draw(const std::vector<series>& lines, double y_low, double y_high) const {
        std::size_t count = 0;
        for (const auto& line : lines)
            count = std::max(count, line.values.size());
        std::string svg = text_at(left, top - 8, title, 13, "font-weight=\"600\"");
        if (count == 0 || !(y_low <= y_high)) return svg + text_at(left, top + height / 2, "nothing to show", 12);
        const axis y = logarithmic && y_low > 0 ? logarithmic_axis(y_low, y_high)
                                                : linear_axis(std::min(0.0, y_low), std::max(0.0, y_high), 4);
        const axis x = linear_axis(0, std::max<double>(1, static_cast<double>(count) - 1), 5);
        const double last = std::max<double>(1, static_cast<double>(count) - 1);
        const auto at_x = [&](double v) { return left + v / last * width; };
        const auto at_y = [&](double v) { return top + height - y.place(v) * height; };

        for (const double v : y.marks) {
            svg += fmt::format("<path d=\"M{:.1f} {:.1f}h{:.1f}\" stroke=\"{}\"/>\n", left, at_y(v), width, grid_color);
            svg += text_at(left - 6, at_y(v) + 4, fmt::format("{:g}", std::round(v * 1e9) / 1e9), 10,
                           "text-anchor=\"end\"");
        }
        for (const double v : x.marks)
            if (v <= last && v == std::floor(v))
                svg += text_at(at_x(v), top + height + 14, fmt::format("{:g}", v + x_offset), 10,
                               "text-anchor=\"middle\"");
        svg += text_at(left + width, top + height + 27, x_label, 10, "text-anchor=\"end\"");
        for (const auto& line : lines)
            svg += path_of(line, at_x, at_y);
        return svg;
    }

  private:
    template <class X, class Y>
    static std::string path_of(const series& line, X at_x, Y at_y) {
        std::string path, dots;
        bool pen_down = false;
        for (std::size_t i = 0; i < line.values.size(); ++i) {
            if (!std::isfinite(line.values[i])) {
                pen_down = false;
                continue;
            }
            const double px = at_x(static_cast<double>(i)), py = at_y(line.values[i]);
            path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", px, py);
            pen_down = true;
            if (line.values.size() <= 2)
                dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", px, py, line.color);
        }
        return fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>\n{}", path, line.color,
                           dots);
    }
};

double number(const json& value) {
    return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> numbers(const json& list) {
    std::vector<double> result;
    for (const auto& v : list)
        result.push_back(number(v));
    return result;
}

/// The lowest and highest finite values; low > high where there are none.
std::pair<double, double> range_of(const std::vector<series>& lines) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const auto& line : lines)
        for (const double v : line.values)
            if (std::isfinite(v)) {
                low = std::min(low, v);
                high = std::max(high, v);
            }
    return {low, high};
}

/// From pale for the first to dark for the last.
std::string shade(std::size_t i, std::size_t count) {
    const double t = count > 1 ? static_cast<double>(i) / static_cast<double>(count - 1) : 1;
    const auto between = [t](double pale, double dark) {
        return static_cast<int>(std::lround(pale + t * (dark - pale)));
    };
    return fmt::format("#{:02x}{:02x}{:02x}", between(186, 26), between(212, 74), between(237, 133));
}

struct layer_lines {
    std::string name;
    std::vector<series> lines;
};

/// Per kind of layer: the error after factorization and after tuning, over the blocks.
std::vector<layer_lines> errors_of(const json& blocks) {
    std::vector<layer_lines> kinds;
    for (std::size_t b = 0; b < blocks.size(); ++b)
        for (const auto& layer : blocks[b].at("layers")) {
            const auto name = layer.at("name").get<std::string>();
            auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.name == name; });
            if (kind == kinds.end()) kind = kinds.insert(kinds.end(), {name, {{before_color, {}}, {after_color, {}}}});
            const char* keys[] = {"error_after_factorization", "error_after_tuning"};
            for (std::size_t stage = 0; stage < 2; ++stage) {
                kind->lines[stage].values.resize(blocks.size(), std::numeric_limits<double>::quiet_NaN());
                kind->lines[stage].values[b] = number(layer.at(keys[stage]));
            }
        }
    return kinds;
}

/// The layers' paths over the blocks: correlation below zero and alignment above it, at the start and at the end.
std::vector<layer_lines> paths_of(const json& blocks, const json& distilled) {
    std::vector<layer_lines> kinds;
    for (std::size_t k = 0; !blocks.empty() && k < blocks[0].at("layers").size(); ++k) {
        layer_lines kind{blocks[0].at("layers")[k].at("name").get<std::string>(), {}};
        for (const char* quantity : {"correlation", "alignment"}) {
            series start{before_color, {}}, end{after_color, {}};
            for (std::size_t b = 0; b < blocks.size(); ++b) {
                const auto& probes = blocks[b].at("path_diagnostics");
                const auto& last = distilled.empty() ? probes.back() : distilled.back().at("blocks").at(b);
                start.values.push_back(number(probes.front().at(quantity).at(k)));
                end.values.push_back(number(last.at(quantity).at(k)));
            }
            kind.lines.push_back(std::move(start));
            kind.lines.push_back(std::move(end));
        }
        kinds.push_back(std::move(kind));
    }
    return kinds;
}

/// The mean over all layers of one quantity of the distillation's probes.
series mean_of(const json& distilled, const char* quantity, const char* color) {
    series line{color, {}};
    for (const auto& probe : distilled) {
        double sum = 0, count = 0;
        for (const auto& block : probe.at("blocks"))
            for (const double v : numbers(block.at(quantity)))
                sum += v, ++count;
        line.values.push_back(sum / count);
    }
    return line;
}

/// A color for each kind of layer.
std::string hue(std::size_t i) {
    constexpr const char* colors[] = {"#c0392b", "#d68910", "#7d8c1f", "#27864a", "#17808f", "#2b6cb0", "#8e44ad"};
    return colors[i % std::size(colors)];
}

/// The names of the kinds of layers in their colors.
std::string names_of(const std::vector<layer_lines>& kinds, double x, double y) {
    std::string svg;
    for (const auto& kind : kinds) {
        svg += fmt::format("<path d=\"M{:.1f} {:.1f}h16\" stroke=\"{}\" stroke-width=\"2.5\"/>\n", x, y - 4,
                           kind.lines[0].color);
        svg += text_at(x + 21, y, kind.name, 11);
        x += 155;
    }
    return svg;
}

/// Of --ranks model, per kind of layer and over the blocks: the rank that it got, and what compressing it alone costs.
std::vector<layer_lines> ranks_of(const json& blocks, const json& costs) {
    std::vector<layer_lines> kinds;
    const std::size_t count = blocks.empty() ? 0 : blocks[0].at("layers").size();
    for (std::size_t k = 0; k < count; ++k) {
        layer_lines kind{blocks[0].at("layers")[k].at("name").get<std::string>(), {{hue(k), {}}, {hue(k), {}}}};
        for (std::size_t b = 0; b < blocks.size(); ++b) {
            kind.lines[0].values.push_back(number(blocks[b].at("layers").at(k).at("rank")));
            kind.lines[1].values.push_back(number(costs.at("losses").at(b).at(k)));
        }
        kinds.push_back(std::move(kind));
    }
    return kinds;
}

std::string header_of(const json& report) {
    const auto& totals = report.at("totals");
    const auto& settings = report.at("settings");
    std::string first = fmt::format("{}: {:.3f} bits per weight (asked: {:g})", report.at("model").get<std::string>(),
                                    number(totals.at("bits_per_weight")), number(totals.at("bits_per_weight_asked")));
    std::string second =
        fmt::format("recipe {}, {} windows of {} tokens of {}, seed {}", settings.at("recipe").get<std::string>(),
                    settings.at("windows").dump(), settings.at("window-tokens").dump(),
                    report.at("text").get<std::string>(), settings.at("seed").dump());
    if (totals.contains("model_bytes")) second += fmt::format("; {:.1f} MB", number(totals["model_bytes"]) / 1e6);
    if (report.at("seconds").contains("total")) second += fmt::format("; {:.0f} s", number(report["seconds"]["total"]));
    if (report.contains("test"))
        second += fmt::format("; test perplexity {:.2f}", number(report["test"]["perplexity"]));
    return text_at(40, 38, first, 18, "font-weight=\"600\"") + text_at(40, 60, second, 13);
}

std::string legend(double x, double y) {
    std::string svg;
    for (const auto& [color, text] :
         {std::pair(before_color, "after factorization"), std::pair(after_color, "after tuning")}) {
        svg += fmt::format("<path d=\"M{:.1f} {:.1f}h22\" stroke=\"{}\" stroke-width=\"2.5\"/>\n", x, y - 4, color);
        svg += text_at(x + 28, y, text, 12);
        x += 160;
    }
    return svg + text_at(x, y, "squared error of each layer's weight, relative, weighted by the calibration's moments");
}

}  // namespace

std::string draw_report(const json& report) {
    constexpr double width = 1180, panel_width = 225, panel_height = 130, column = 285, row = 205, margin = 60;
    const auto& blocks = report.at("blocks");
    std::string body = header_of(report) + legend(40, 86);

    // A panel for every kind of layer, all with one scale, then one for the blocks as wholes.
    const auto kinds = errors_of(blocks);
    double highest = 0;
    for (const auto& kind : kinds)
        highest = std::max(highest, range_of(kind.lines).second);
    const auto place = [&](std::size_t i) {
        return panel{margin + static_cast<double>(i % 4) * column,
                     135 + static_cast<double>(i / 4) * row,
                     panel_width,
                     panel_height,
                     {},
                     {}};
    };
    std::size_t at = 0;
    for (const auto& kind : kinds) {
        auto p = place(at++);
        p.title = kind.name;
        p.x_label = "block";
        body += p.draw(kind.lines, 0, highest);
    }
    std::vector<series> whole = {{before_color, {}}, {after_color, {}}};
    std::vector<series> curves;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
        whole[0].values.push_back(number(blocks[b].at("block_error_after_factorization")));
        whole[1].values.push_back(number(blocks[b].at("block_error_after_tuning")));
        curves.push_back({shade(b, blocks.size()), numbers(blocks[b].at("binary_tuning_curve"))});
    }
    const auto draw_log = [&](panel p, const char* title, const char* x_label, const std::vector<series>& lines) {
        p.title = title;
        p.x_label = x_label;
        p.logarithmic = true;
        const auto [low, high] = range_of(lines);
        return p.draw(lines, low, high);
    };
    body += draw_log(place(at++), "whole block: output error", "block", whole);

    // The curves, two wide panels.
    const double top = 135 + std::ceil(static_cast<double>(at) / 4) * row;
    panel tuning{margin, top, 2 * column - 60, 190, {}, {}},
        distillation{margin + 2 * column, top, 2 * column - 60, 190, {}, {}};
    tuning.x_offset = distillation.x_offset = 1;
    body += draw_log(tuning, "tuning of the blocks: relative error per epoch (pale: first block, dark: last)", "epoch",
                     curves);
    body += draw_log(distillation, "distillation: KL to the original, nats per token", "epoch",
                     {{after_color, numbers(report.at("distillation_curve"))}});
    double height = top + 190 + 50;
    if (report.contains("rank_costs")) {
        const auto measured = ranks_of(blocks, report.at("rank_costs"));
        std::vector<series> ranks, costs;
        for (const auto& kind : measured) {
            ranks.push_back(kind.lines[0]);
            costs.push_back(kind.lines[1]);
        }
        panel left = tuning, right = distillation;
        left.top = right.top = height + 30;
        left.x_offset = right.x_offset = 0;
        left.title = "ranks by what the layers cost";
        left.x_label = "block";
        body += left.draw(ranks, 0, range_of(ranks).second);
        body += draw_log(right, "KL of the model with one layer compressed, nats per token", "block", costs);
        body += names_of(measured, margin, height + 30 + 190 + 44);
        height += 30 + 190 + 60;
    }
    if (!blocks.empty() && blocks[0].contains("path_diagnostics")) {
        const json distilled = report.value("distillation_path_diagnostics", json::array());
        body +=
            text_at(40, height + 20,
                    "paths (pale: start, dark: end): correlation of the first with the second, below zero; alignment "
                    "of the second with what the first one leaves, above",
                    12);
        at = 0;
        for (const auto& kind : paths_of(blocks, distilled)) {
            auto p = place(at++);
            p.top += height - 75;
            p.title = kind.name;
            p.x_label = "block";
            body += p.draw(kind.lines, -1, 1);
        }
        auto p = place(at);
        p.top += height - 75;
        p.title = "distillation: means over the layers";
        p.x_label = "probe";
        body += p.draw({mean_of(distilled, "correlation", after_color), mean_of(distilled, "alignment", after_color),
                        mean_of(distilled, "signs_flipped", before_color)},
                       -1, 1);
        height += 2 * row + 60;
    }
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
               "height=\"{1:.0f}\" font-family=\"system-ui, sans-serif\">\n"
               "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
               width, height) +
           body + "</svg>\n";
}

}  // namespace llama
