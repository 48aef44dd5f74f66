# The tests that are no test_NAME.c: rules, format, ranks, whole runs, fuzzing.
# Labels: house, mpi, run (whole programs), smoke (a small one of these, also under the sanitizers),
# cluster (on hosts made of namespaces), fuzz, long (left out unless asked for), slow (unit tests that
# the sanitizers are spared unless asked for: others of their kind go the same ways).

find_program(PYTHON3 python3)
find_program(CLANG_FORMAT NAMES clang-format clang-format-14)

if(PYTHON3)
  add_test(NAME house/rules COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/check_house.py)
  add_test(NAME house/rules-find
           COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/check_house.py --self-test)
  add_test(NAME house/scaling
           COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/bench/controller_load.py
                   --check ${CMAKE_SOURCE_DIR}/docs/scaling.md)
  add_test(NAME house/scaling-gpu
           COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/bench/scale_gpu.py
                   --check ${CMAKE_SOURCE_DIR}/docs/scaling.md)
  set_tests_properties(house/rules house/rules-find house/scaling house/scaling-gpu PROPERTIES TIMEOUT 60 LABELS house)
endif()
if(CLANG_FORMAT)
  add_test(NAME house/format
           COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/check_format.sh ${CLANG_FORMAT})
  set_tests_properties(house/format PROPERTIES TIMEOUT 60 LABELS house)
endif()

set_tests_properties(answer-sedd answer-vq answer-sundae answer-score-sde answer-mdlm answer-consistency
                     answer-discrete-flow launch/elbo launch/lock model/network PROPERTIES LABELS slow)

include(${CMAKE_CURRENT_SOURCE_DIR}/ranks.cmake OPTIONAL)

# Whole runs of the program: tests/run/NAME.sh. They take all cores, hence one at a time.
function(dye_run_test name script timeout labels)
  add_test(NAME run/${name}
           COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/run/${script} ${ARGN})
  set_tests_properties(run/${name} PROPERTIES TIMEOUT ${timeout} LABELS "${labels}"
                       SKIP_RETURN_CODE 77 RUN_SERIAL TRUE
                       ENVIRONMENT "DYE=$<TARGET_FILE:dye>")
endfunction()

dye_run_test(smoke smoke.sh 120 "run;mpi;smoke")
dye_run_test(worlds worlds.sh 600 "run;mpi")
dye_run_test(kill kill.sh 400 "run;mpi" 5)
dye_run_test(damage damage.sh 300 "run;mpi")
dye_run_test(signals signals.sh 600 "run;mpi")
dye_run_test(disk disk.sh 300 "run;mpi")
dye_run_test(deadline deadline.sh 240 "run;mpi")
dye_run_test(slow slow.sh 120 "run;mpi")
dye_run_test(nan nan.sh 240 "run;mpi")
dye_run_test(pack pack.sh 240 "run;mpi")
dye_run_test(lost lost.sh 120 "run;mpi")
dye_run_test(errors errors.sh 240 "run;mpi")
dye_run_test(sample_eval sample_eval.sh 300 "run;mpi")
dye_run_test(systems systems.sh 300 "run;mpi")
dye_run_test(life life.sh 120 "run")
dye_run_test(report report.sh 120 "run;mpi")
dye_run_test(export export.sh 120 "run;mpi")
dye_run_test(packaging packaging.sh 120 "run;mpi")
dye_run_test(docs docs.sh 300 "run;mpi")
dye_run_test(gpu gpu_runs.sh 240 "run;mpi" --nccl)
dye_run_test(hosts hosts.sh 240 "run;mpi")
dye_run_test(gpu_products gpu_products.sh 240 "run;mpi")
dye_run_test(gpu_ahead gpu_ahead.sh 240 "run;mpi")
set_property(TEST run/gpu run/gpu_products run/gpu_ahead run/hosts APPEND PROPERTY ENVIRONMENT
             "DYE_BACKENDS=${CMAKE_BINARY_DIR}/emulated" DYE_EMULATED_GPUS=4)
dye_run_test(tensorboard tensorboard.sh 120 "run;mpi")
dye_run_test(tokens tokens.sh 240 "run;mpi")
dye_run_test(bench bench.sh 240 "run;mpi")
dye_run_test(plan plan.sh 60 "run;mpi")
dye_run_test(recompute recompute.sh 240 "run;mpi")
set_property(TEST run/recompute APPEND PROPERTY ENVIRONMENT "DYE_BACKENDS=${CMAKE_BINARY_DIR}/emulated"
             DYE_EMULATED_GPUS=4)
dye_run_test(doctor doctor.sh 240 "run;mpi")
dye_run_test(launch launch.sh 240 "run;mpi")
dye_run_test(watch watch.sh 400 "run;mpi")
dye_run_test(no_install no_install.sh 60 "run")
dye_run_test(apptainer apptainer.sh 60 "run")
dye_run_test(big big.sh 1200 "run;mpi;long")
dye_run_test(kill-long kill.sh 3600 "run;mpi;long" 50)
dye_run_test(systems-long systems.sh 900 "run;mpi;long" --long)
dye_run_test(worlds-long worlds.sh 1800 "run;mpi;long" --long)
dye_run_test(first_hour first_hour.sh 1200 "run;mpi;long")
dye_run_test(docs-long docs.sh 900 "run;mpi;long" --long)
dye_run_test(signals-long signals.sh 600 "run;mpi;long" --long)

# On several hosts: tests/cluster/test_NAME.sh, long_NAME.sh. Skipped where no lab can run.
foreach(kind test long)
  file(GLOB cluster_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cluster/${kind}_*.sh)
  set(labels cluster mpi run)
  set(limit 240)
  if(kind STREQUAL long)
    list(APPEND labels long)
    set(limit 1200)
  endif()
  foreach(script ${cluster_tests})
    get_filename_component(name ${script} NAME_WE)
    string(REPLACE ${kind}_ "" name ${name})
    add_test(NAME cluster/${name} COMMAND bash ${script})
    set_tests_properties(cluster/${name} PROPERTIES TIMEOUT ${limit} LABELS "${labels}"
                         SKIP_RETURN_CODE 77 RUN_SERIAL TRUE
                         ENVIRONMENT "DYE=$<TARGET_FILE:dye>")
  endforeach()
endforeach()

# Against PyTorch, where there is one.
add_test(NAME bench/parity COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/bench/parity.sh)
set_tests_properties(bench/parity PROPERTIES TIMEOUT 240 LABELS run SKIP_RETURN_CODE 77
                     RUN_SERIAL TRUE
                     ENVIRONMENT "DYE=$<TARGET_FILE:dye>;DYE_DUMP=$<TARGET_FILE:dump_step>")

if(DYE_FUZZ)
  add_subdirectory(${CMAKE_CURRENT_SOURCE_DIR}/fuzz)
endif()
