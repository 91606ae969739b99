// The names of a backend's own operations, from the installed suite.
#include <conformance/overloads.hpp>

#include <subbit/backend/cpu.hpp>

std::vector<std::string> own_operations_of_the_cpu();
std::vector<std::string> own_operations_of_the_cpu() {
    return subbit::testing::own_operations<float, subbit::cpu>();
}
