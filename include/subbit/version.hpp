// The version's one home: CMake parses these three lines.
#pragma once

#define SUBBIT_VERSION_MAJOR 0
#define SUBBIT_VERSION_MINOR 1
#define SUBBIT_VERSION_PATCH 0
