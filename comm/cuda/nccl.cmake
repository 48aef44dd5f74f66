# libdye_nccl.so beside the program, where NCCL's header and library are: -DNCCL_ROOT=... says where else to look.
find_path(NCCL_INCLUDE nccl.h HINTS ${NCCL_ROOT}/include ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY nccl HINTS ${NCCL_ROOT}/lib ${CUDAToolkit_LIBRARY_DIR})
if(NCCL_INCLUDE AND NCCL_LIBRARY)
  add_library(dye_nccl MODULE ${CMAKE_SOURCE_DIR}/comm/cuda/comm_nccl.c)
  target_include_directories(dye_nccl PRIVATE ${CMAKE_SOURCE_DIR})
  target_include_directories(dye_nccl SYSTEM PRIVATE ${NCCL_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(dye_nccl PRIVATE ${NCCL_LIBRARY} CUDA::cudart_static)
  set_target_properties(dye_nccl PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
                        C_VISIBILITY_PRESET hidden)
endif()
