# cmake -D INCLUDE=... -P find_output.cmake: no header names a way to print or to end the program.
file(GLOB_RECURSE headers ${INCLUDE}/*.hpp)
foreach(header IN LISTS headers)
  file(STRINGS ${header} lines REGEX "std::(cout|cerr|clog|exit|abort|terminate|quick_exit)|<iostream>|printf *\\(|[^_]assert *\\(")
  foreach(line IN LISTS lines)
    message(SEND_ERROR "${header}: ${line}")
  endforeach()
endforeach()
