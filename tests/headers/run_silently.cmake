# cmake -D PROGRAM=... -P run_silently.cmake: the program ends with 0 and says nothing at all.
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err)
if(NOT status EQUAL 0 OR NOT "${out}${err}" STREQUAL "")
  message(FATAL_ERROR "status ${status}, output: ${out}${err}")
endif()
