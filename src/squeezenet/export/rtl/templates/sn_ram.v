// Memory with one port to write and one to read. What is read comes after two cycles with `enable`: the second register
// is the one at the output of a block RAM. An address is never written in the cycle in which it is read.
module sn_ram #(
    parameter W = 8,
    parameter DEPTH = 2,
    parameter AB = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire write,
    input wire [AB-1:0] write_at,
    input wire [W-1:0] in,
    input wire enable,
    input wire [AB-1:0] read_at,
    output reg [W-1:0] out
);
    (* no_rw_check *) reg [W-1:0] memory [0:DEPTH-1];
    reg [W-1:0] first;
    always @(posedge clk) begin
        if (write) memory[write_at] <= in;
        if (enable) begin
            first <= memory[read_at];
            out <= first;
        end
    end
endmodule
