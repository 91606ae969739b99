// The cuda backend on a GPU; says skipped where there is none.
#include <subbit/backend/cuda.cuh>

#include <doctest/doctest.h>
#include <string>

namespace subbit::testing {

namespace {

bool no_gpu() {
    if (cuda_device_count() > 0) return false;
    MESSAGE("SKIPPED: no GPU");
    return true;
}

}  // namespace

TEST_CASE("without a GPU the backend says what to do") {
    if (cuda_device_count() > 0) return;
    std::string message;
    try {
        const cuda backend;
    } catch (const cuda_error& e) {
        message = e.what();
    }
    CAPTURE(message);
    CHECK(message.find("or use the cpu backend") != std::string::npos);
}

TEST_CASE("matrices go to the GPU and come back") {
    if (no_gpu()) return;
    const cuda b;
    const matrix<float> X = matrix<float>::Random(33, 65);
    auto x = upload(b, X);
    auto y = allocate<float>(b, 65, 33);
    axpby(b, 2, view(x).t(), 0, y);
    CHECK(download(b, view(y).t()) == matrix<float>(2 * X));
}

}  // namespace subbit::testing
