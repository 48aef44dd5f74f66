// Products of bf16 on the tiles of AMX (Intel processors from 2023 on), sums in fp32.
#ifndef MODEL_CPU_AMX_H
#define MODEL_CPU_AMX_H

#include "model/cpu/product.h"

// Asks the kernel for the tiles; false where the processor or the kernel has none.
bool amx_open(void);

// Room for the packed operands of one thread.
typedef struct AmxRoom AmxRoom;
AmxRoom *amx_room_open(void); // NULL: no memory
void amx_room_close(AmxRoom *room);

bool amx_takes(const Product *product); // half_in, and at most 4,096 k
void amx_product(AmxRoom *room, const Product *product);

#endif
