/* Stands for NVIDIA's library: GPU 0 tells everything, GPU 1 is like a part of one and tells its
 * name and nothing else, and there is no further one. */

#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

struct gpu {
    int tells;
};
static struct gpu gpus[2] = {{1}, {0}};

struct memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};
struct utilization {
    unsigned gpu, memory;
};

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
    if (index >= 2) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(struct gpu *gpu, char *name, unsigned length) {
    strncpy(name, gpu->tells ? "NVIDIA Test" : "NVIDIA Test MIG 1g", length);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct gpu *gpu, struct utilization *rates) {
    if (!gpu->tells) return NOT_SUPPORTED;
    rates->gpu = 87;
    rates->memory = 12;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct gpu *gpu, struct memory *memory) {
    if (!gpu->tells) return NOT_SUPPORTED;
    memory->total = 1000;
    memory->reserved = 100;
    memory->free = 500;
    memory->used = 400;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct gpu *gpu, int sensor, unsigned *celsius) {
    if (!gpu->tells || sensor != 0) return NOT_SUPPORTED;
    *celsius = 64;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *milliwatts) {
    if (!gpu->tells) return NOT_SUPPORTED;
    *milliwatts = 412500;
    return SUCCESS;
}
