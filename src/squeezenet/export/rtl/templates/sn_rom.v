// Constants from a file. What is read comes after two cycles with `enable`, as in sn_ram.
module sn_rom #(
    parameter W = 8,
    parameter DEPTH = 2,
    parameter FILE = "",
    parameter AB = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire enable,
    input wire [AB-1:0] at,
    output reg [W-1:0] out
);
    reg [W-1:0] memory [0:DEPTH-1];
    reg [W-1:0] first;
    initial $readmemh(FILE, memory);
    always @(posedge clk)
        if (enable) begin
            first <= memory[at];
            out <= first;
        end
endmodule
