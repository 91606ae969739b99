// The reference: plain Eigen and plain loops, any scalar type, one thread. Every other backend is tested against it.
#pragma once

#include <subbit/backend/reference/backend.hpp>
#include <subbit/backend/reference/bytes.hpp>
#include <subbit/backend/reference/dense.hpp>
#include <subbit/backend/reference/layers.hpp>
#include <subbit/backend/reference/memory.hpp>
#include <subbit/backend/reference/paths.hpp>
#include <subbit/backend/reference/rows.hpp>
#include <subbit/backend/reference/solver.hpp>
#include <subbit/backend/reference/train.hpp>
