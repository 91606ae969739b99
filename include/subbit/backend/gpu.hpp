// The operations of every GPU, real or emulated: what backend/cuda.cuh and backend/emulated.hpp have in common.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/bits.hpp>
#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/byte_product.hpp>
#include <subbit/backend/gpu/conjugate.hpp>
#include <subbit/backend/gpu/descent.hpp>
#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/backend/gpu/owners.hpp>
#include <subbit/backend/gpu/packed/layers.hpp>
#include <subbit/backend/gpu/path_steps.hpp>
#include <subbit/backend/gpu/products.hpp>
#include <subbit/backend/gpu/rank_one.hpp>
#include <subbit/backend/gpu/reductions.hpp>
#include <subbit/backend/gpu/row_steps.hpp>
#include <subbit/backend/gpu/train_steps.hpp>
#include <subbit/backend/gpu/transfer.hpp>
