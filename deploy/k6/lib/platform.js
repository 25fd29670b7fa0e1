/**
 * What a scenario needs from the program that runs it. `fronts/node.js` and `fronts/k6.js` each provide one; everything
 * else in this folder knows neither Node nor k6. Timers, `crypto` and `console` are globals in both.
 *
 * @typedef {object} Answer
 * @property {number} status HTTP status; 0 when no answer came
 * @property {any} body the parsed JSON, or null
 * @property {number} retryAfterMs from `Retry-After`; 0 without one
 *
 * @typedef {object} SocketEvents
 * @property {() => void} opened
 * @property {(text: string) => void} text
 * @property {(code: number) => void} closed exactly once, also when the socket never opened; the code is 1006 then
 *
 * @typedef {object} Socket
 * @property {(text: string) => void} send
 * @property {(code: number) => void} close says goodbye with a close frame
 * @property {() => void} cut breaks the connection without one, where the platform can
 *
 * @typedef {object} RequestOptions
 * @property {string} [token]
 * @property {unknown} [json]
 * @property {string} [text] sent as it is, in place of `json`
 *
 * @typedef {object} Platform
 * @property {(method: string, url: string, options?: RequestOptions) => Promise<Answer>} request never rejects
 * @property {(url: string, events: SocketEvents) => Socket} socket
 * @property {(metric: string, value: number, tags?: Record<string, string>) => void} record
 * @property {(line: object) => void} keep writes a line of the ledger
 */

export {};
