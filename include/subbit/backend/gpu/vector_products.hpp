// Packed products of up to 16 vectors: the launches of packed_vectors.hpp, and the planes between them.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed_vectors.hpp>
#include <subbit/backend/gpu/packed_workspace.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace subbit::gpu {

/// Planes side by side in one piece of memory.
class plane_memory {
  public:
    static constexpr index bytes(index vectors, index size) {
        const index a_group = plane_layout::group * 4 + static_cast<index>(sizeof(plane_sums));
        return (vectors * (plane_layout::groups(size) * a_group + plane_layout::exponents(size)) + 15) / 16 * 16;
    }

    explicit plane_memory(std::byte* memory) : next_(memory) {}
    plane_view take(index vectors, index size) {
        const index groups = vectors * plane_layout::groups(size);
        plane_view planes;
        planes.words = reinterpret_cast<std::uint32_t*>(next_);
        planes.sums = reinterpret_cast<plane_sums*>(planes.words + groups * plane_layout::group);
        planes.exponents = reinterpret_cast<std::uint8_t*>(planes.sums + groups);
        planes.size = static_cast<int>(size);
        next_ += bytes(vectors, size);
        return planes;
    }

  private:
    std::byte* next_;
};

/// Makes the planes of all sources, which have the same number of vectors.
template <class Device, class In>
void make_planes(const gpu_backend<Device>& b, std::span<const plane_source<In>> sources) {
    constexpr std::size_t most = outputs_at_once * max_paths;
    using kernel = planes_kernel<In, static_cast<int>(most)>;
    for (std::size_t first = 0; first < sources.size(); first += most) {
        kernel k;
        int groups = 0;
        for (std::size_t s = first; s < std::min(sources.size(), first + most); ++s) {
            k.sources[k.count] = sources[s];
            k.first_group[k.count++] = groups;
            groups += sources[s].planes.groups();
        }
        k.first_group[k.count] = groups;
        constexpr int threads = 128;  // few, so that a short vector has several multiprocessors at work
        const index warps = index{groups} * k.sources[0].X.rows;
        if (warps > 0) b.launch({(warps * warp_size + threads - 1) / threads, threads}, k);
    }
}

/// All outputs of a product that has `vectors` vectors.
template <class Device, class Out>
void multiply_planes(const gpu_backend<Device>& b, std::span<const plane_output<Out>> outputs, index vectors) {
    using kernel = packed_vectors_kernel<Out>;
    for (std::size_t first = 0; first < outputs.size(); first += outputs_at_once) {
        kernel k;
        k.job.vectors = static_cast<int>(vectors);
        index blocks = 0;
        for (std::size_t o = first; o < std::min(outputs.size(), first + outputs_at_once); ++o) {
            k.job.outputs[k.job.count] = outputs[o];
            k.job.first_block[k.job.count++] = blocks;
            blocks += (outputs[o].rows() + strip_rows - 1) / strip_rows;
        }
        if (blocks > 0) b.launch({blocks, kernel::product::threads, kernel::product::shared_bytes(vectors)}, k);
    }
}

/// What packed_products() does, for up to most_vectors vectors.
template <class Device, class In, class Out>
void vector_products(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, float>> outputs,
                     packed_workspace<Device, float>& work) {
    const index vectors = outputs.front().tokens();
    index bytes = 0;
    for (const auto& output : outputs)
        for (int p = 0; p < output.part_count; ++p)
            bytes += plane_memory::bytes(vectors, output.parts[p].bits.cols());
    plane_memory memory(work.planes(bytes));
    std::vector<plane_source<In>> sources;
    std::vector<plane_output<Out>> products;
    for (const auto& output : outputs) {
        plane_output<Out> product;
        product.part_count = output.part_count;
        for (int p = 0; p < output.part_count; ++p) {
            const auto& part = output.parts[p];
            sources.push_back({part.X, part.pre, memory.take(vectors, part.bits.cols())});
            product.parts[p] = {part.bits, sources.back().planes, part.post};
        }
        product.bias = output.bias;
        product.Y = output.Y;
        product.alpha = output.alpha;
        product.beta = output.beta;
        if (output.Y.size() > 0) products.push_back(product);
    }
    make_planes(b, std::span<const plane_source<In>>(sources));
    multiply_planes(b, std::span<const plane_output<Out>>(products), vectors);
}

}  // namespace subbit::gpu
