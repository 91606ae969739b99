// The operations of every GPU, real or emulated: what backend/cuda.cuh and backend/emulated.hpp have in common.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/byte_product.hpp>
#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/backend/gpu/packed_layers.hpp>
#include <subbit/backend/gpu/transfer.hpp>
