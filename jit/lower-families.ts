/** Every family of lowering arms: importing this file makes the lowering complete. */
export {};
