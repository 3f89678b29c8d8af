/**
 * HTTP in clear, of Node. Not imported: an import reads everything that node:http exports, and behind its WebSocket Node loads a whole
 * client (undici), in each thread 45 ms of a start.
 */
export const { createServer, request } = process.getBuiltinModule("node:http")
