# Tests on several ranks: programs tests/comm/mpi_*.c under mpirun, named comm/PROGRAM-RANKS.
# dye_ranks_test(NAME RANKS TARGET [ARGUMENTS...]) serves other folders too; label: mpi.
set(DYE_RANKS 1 2 3 4 8)
# Open MPI leaks by itself, from modules that are unloaded at exit: they cannot be told apart.
set(DYE_RANKS_ENVIRONMENT OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
                          ASAN_OPTIONS=detect_leaks=0)

# GPUs of the emulated backends, where they are built: one for each rank.
if(TARGET dye_nccl_emulated)
  list(APPEND DYE_RANKS_ENVIRONMENT DYE_BACKENDS=${CMAKE_BINARY_DIR}/emulated DYE_EMULATED_GPUS=8)
endif()

function(dye_ranks_properties name ranks)
  set_tests_properties(${name} PROPERTIES LABELS mpi TIMEOUT 60 PROCESSORS ${ranks}
                                          ENVIRONMENT "${DYE_RANKS_ENVIRONMENT}")
endfunction()

function(dye_ranks_test name ranks target)
  add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${ranks}
                                $<TARGET_FILE:${target}> ${ARGN})
  dye_ranks_properties(${name} ${ranks})
endfunction()

file(GLOB support CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/comm/support_*.c)
foreach(program comm reduce alarm end nccl)
  add_executable(mpi_${program} ${CMAKE_CURRENT_LIST_DIR}/comm/mpi_${program}.c ${support})
  target_link_libraries(mpi_${program} PRIVATE dye_comm)
endforeach()

foreach(ranks ${DYE_RANKS})
  dye_ranks_test(comm/comm-${ranks} ${ranks} mpi_comm)
  dye_ranks_test(comm/reduce-${ranks} ${ranks} mpi_reduce)
endforeach()
if(TARGET dye_nccl_emulated)
  foreach(ranks 1 2 3 4)
    dye_ranks_test(comm/nccl-${ranks} ${ranks} mpi_nccl)
  endforeach()
endif()
dye_ranks_test(comm/alarm-2 2 mpi_alarm)
dye_ranks_test(comm/alarm-3 3 mpi_alarm)

# How a job ends: mpirun's exit code, within 5 s.
function(dye_end_test how ranks code text)
  add_test(NAME comm/end-${how}-${ranks}
           COMMAND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/comm/expect_exit.sh ${code} 5 "${text}"
                   ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${ranks} $<TARGET_FILE:mpi_end> ${how})
  dye_ranks_properties(comm/end-${how}-${ranks} ${ranks})
endfunction()
foreach(ranks 1 2 4)
  dye_end_test(abort ${ranks} 7 "")
  dye_end_test(bug ${ranks} 70 "how == NULL")
  dye_end_test(agree ${ranks} 78 "")
endforeach()
dye_end_test(early 3 7 "")

# A launcher of another kind: MPI comes up as a world of one among four processes.
function(dye_alone_test how text)
  add_test(NAME comm/end-${how}
           COMMAND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/comm/expect_exit.sh 76 20 "${text}"
                   $<TARGET_FILE:mpi_end> ${how})
  dye_ranks_properties(comm/end-${how} 1)
endfunction()
dye_alone_test(slurm "srun gave it no PMI. Start with 'srun --mpi=pmix'")
dye_alone_test(pmi2 "the launcher speaks PMI-2, this MPI PMIx. Start with 'srun --mpi=pmix'")
