// Owners in the memory of the host (ops/memory.hpp).
#pragma once

#include <subbit/backend/ops/memory.hpp>

#include <algorithm>
#include <span>

namespace subbit {

template <class B, class S>
matrix<S> do_allocate(reference_tag, const B&, S, index rows, index cols) {
    return matrix<S>::Zero(rows, cols);
}

template <class B, class S>
vector<S> do_allocate(reference_tag, const B&, S, index n) {
    return vector<S>::Zero(n);
}

template <class B, class S>
matrix<S> do_upload(reference_tag, const B&, matrix_view<const S> host) {
    return as_eigen(host);
}

template <class B, class S>
vector<S> do_upload(reference_tag, const B&, std::span<const S> host) {
    return Eigen::Map<const vector<S>>(host.data(), std::ssize(host));
}

template <class B, class S>
matrix<S> do_download(reference_tag, const B&, matrix_view<const S> device) {
    return as_eigen(device);
}

template <class B, class S>
vector<S> do_download(reference_tag, const B&, std::span<const S> device) {
    return Eigen::Map<const vector<S>>(device.data(), std::ssize(device));
}

template <host_backend B, class S>
void do_reshape(reference_tag, const B&, matrix<S>& X, index rows, index cols) {
    X.resize(rows, cols);
}

template <host_backend B, class S>
void do_reshape(reference_tag, const B&, vector<S>& x, index n) {
    x.resize(n);
}

template <class B, class S>
void do_fill(reference_tag, const B&, S value, matrix_view<S> X) {
    as_eigen(X).setConstant(value);
}

template <host_backend B, class S>
void do_take_bits(reference_tag, const B& b, matrix_view<const S> X, bit_matrix& signs) {
    if (!X.is_row_major()) {
        signs = pack_signs(b, X);
        return;
    }
    if (signs.rows() != X.rows || signs.cols() != X.cols) signs = bit_matrix(X.rows, X.cols);
    b.parallel_for(X.rows, 64, [&](index begin, index end) { signs.set_rows(X, begin, end); });
}

template <class B, class S>
bit_matrix do_pack_signs(reference_tag, const B&, matrix_view<const S> X) {
    return bit_matrix::pack(X);
}

template <host_backend B, class S>
void do_upload(reference_tag, const B&, std::span<const S> host, std::span<S> entries) {
    std::copy(host.begin(), host.end(), entries.begin());
}

}  // namespace subbit
