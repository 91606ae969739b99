// The operations of every GPU, real or emulated, for backend/cuda.cuh and backend/emulated.hpp.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/bytes.hpp>
#include <subbit/backend/gpu/dense.hpp>
#include <subbit/backend/gpu/layers.hpp>
#include <subbit/backend/gpu/memory.hpp>
#include <subbit/backend/gpu/paths.hpp>
#include <subbit/backend/gpu/rows.hpp>
#include <subbit/backend/gpu/solver.hpp>
#include <subbit/backend/gpu/train.hpp>
