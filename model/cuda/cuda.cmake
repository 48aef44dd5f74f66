# libdye_cuda.so beside the program: device code for A100, H100/H200, B200, and PTX for what comes later.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)
endif()
set(CMAKE_CUDA_STANDARD 20)
enable_language(CUDA)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/model/cuda/*.cu)
add_library(dye_cuda MODULE ${cuda_sources} ${cuda_host_sources})
target_include_directories(dye_cuda PRIVATE ${CMAKE_SOURCE_DIR})
target_include_directories(dye_cuda SYSTEM PRIVATE ${cuda_includes})
# Contraction is off, as on the host: what both compute has the same bits.
target_compile_options(dye_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
target_link_libraries(dye_cuda PRIVATE CUDA::cudart_static CUDA::cublasLt)
set_target_properties(dye_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
# Names of the program's own functions are not taken for those of the same name here.
set_target_properties(dye_cuda PROPERTIES C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
                      CUDA_VISIBILITY_PRESET hidden)
