// The graphs of attention as the real cuDNN sees them: described by its properties, a GPU need not
// be here. The library builds the graphs, proposes engines that repeat their bits, and compiles
// their kernels; to load these is all that it then fails in.
//
//   test_cudnn_graph .../stubs/libcuda.so    the toolkit's: all functions, and none that works
#include <dlfcn.h>

#include "model/cuda/attention_graph.h"
#include "tests/test.h"

static const CudnnLibrary *library;

// As cuDNN itself writes them of an A100, H100 and B200, as far as published.
static void describe_gpu(int kind, int processors, int shared, char *text, size_t bytes) {
    snprintf(text, bytes,
             "{\"deviceName\": \"GPU\", \"deviceVer\": %d, \"driverVer\": 13000,"
             " \"cudaDeviceId\": 0, \"pciDeviceId\": 0, \"multiProcessorCount\": %d,"
             " \"totalGlobalMem\": 80000000000, \"l2CacheSize\": 52428800, \"warpSize\": 32,"
             " \"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64],"
             " \"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d,"
             " \"reservedSharedMemoryPerBlock\": 1024, \"regsPerBlock\": 65536,"
             " \"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024,"
             " \"maxThreadsPerSM\": 2048, \"smClockRateKHz\": 1980000,"
             " \"memClockRateKHz\": 2619000, \"supportCoopLaunch\": 1, \"isTccDriver\": 0}",
             kind, processors, shared);
}

static cudnnBackendDescriptor_t gpu_of(AttentionGraph *graph, const char *text) {
    cudnnBackendDescriptor_t gpu = graph_make(graph, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    graph_set(graph, gpu, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
              (int64_t)strlen(text), text);
    graph_finish(graph, gpu);
    return gpu;
}

// Compiles the plan. It is then loaded into the GPU, which fails here.
static void expect_plan(AttentionGraph *graph, cudnnBackendDescriptor_t engine,
                        cudnnBackendDescriptor_t gpu) {
    cudnnBackendDescriptor_t plan = graph_make(graph, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    graph_set(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              1, &engine);
    graph_set(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &gpu);
    EXPECT_EQ(graph->status, CUDNN_STATUS_SUCCESS);
    graph_finish(graph, plan);
    EXPECT_EQ(graph->status, CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER);
    graph->status = CUDNN_STATUS_SUCCESS;
}

static void graph_case(const AttentionShape *shape, const char *gpu_text, bool compiled) {
    AttentionGraph graph;
    attention_graph_open(library, NULL, shape, &graph);
    EXPECT_EQ(graph.status, CUDNN_STATUS_SUCCESS);
    EXPECT_EQ(graph.operations, shape->grad ? 17 : 1);
    cudnnBackendDescriptor_t engines[PROPOSALS_MOST], gpu = gpu_of(&graph, gpu_text);
    int count = graph_engines(&graph, CUDNN_HEUR_MODE_A, gpu, engines);
    if (count == 0) TEST_FAIL("no engine for grad %d", (int)shape->grad);
    EXPECT_EQ(graph.status, CUDNN_STATUS_SUCCESS);
    int64_t bytes = 0;
    for (int i = 0; i < count; ++i) {
        bytes = graph_workspace(&graph, engines[i], CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE);
        // One bf16 number for each score, which is what makes the gradient repeat its bits: engines
        // that add up dq by atomics want less.
        int64_t scores =
            shape->samples * shape->heads * ((shape->tokens + 63) / 64 * 64) * shape->tokens * 2;
        if (shape->grad) EXPECT(bytes >= scores);
        if (!shape->grad) EXPECT(bytes <= 1 << 20);
    }
    if (compiled && count > 0) expect_plan(&graph, engines[0], gpu);
    attention_graph_close(&graph);
}

static void test_graphs(void) {
    if (library == NULL) SKIP("no cuDNN of 9.16 or later, or no libcuda among the stubs");
    static const int kinds[][3] = {{800, 108, 166912}, {900, 132, 232448}, {1000, 148, 232448}};
    static const int64_t widths[] = {64, 72, 128}, tokens[] = {256, 77, 1024};
    for (size_t k = 0; k < 3; ++k) {
        char gpu[1000];
        describe_gpu(kinds[k][0], kinds[k][1], kinds[k][2], gpu, sizeof gpu);
        for (size_t w = 0; w < 3; ++w)
            for (size_t t = 0; t < 3; ++t)
                for (int64_t grad = 0; grad < 2; ++grad)
                    graph_case(&(AttentionShape){32, tokens[t], 16, widths[w], grad}, gpu,
                               k == 1 && t == 0);
    }
}

// A description that is none: what is expected above does not come by itself.
static void test_refusals(void) {
    if (library == NULL) SKIP("no cuDNN of 9.16 or later, or no libcuda among the stubs");
    AttentionGraph graph;
    attention_graph_open(library, NULL, &(AttentionShape){2, 64, 2, 64, 0}, &graph);
    (void)gpu_of(&graph, "{}");
    EXPECT(graph.status != CUDNN_STATUS_SUCCESS);
    attention_graph_close(&graph);
    attention_graph_open(library, NULL, &(AttentionShape){2, -64, 2, 64, 1}, &graph);
    EXPECT(graph.status != CUDNN_STATUS_SUCCESS);
    attention_graph_close(&graph);
}

int main(int argc, char **argv) {
    bool there = argc > 1 && dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) != NULL;
    if (there) (void)!cudnn_load(&library);
    RUN(test_graphs);
    RUN(test_refusals);
    return test_report();
}
